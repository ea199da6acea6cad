"""The aggregate posterior, q(z) = mean of q(z|x) over the data: its log density at any codes, computed in blocks of data and codes."""

from collections.abc import Callable, Sequence
import math

from pyro import poutine
import torch
from torch import Tensor
from torch.distributions import Distribution, MixtureSameFamily
from tqdm.auto import tqdm

from inference.densities.layout import Latents, Layout, run_guide
from inference.densities.log_density import guide_density
from inference.scoring.workers import all_workers
from pyro_lvm.distributions.normal_mixture import marginals, mixture
from pyro_lvm.pair import Batch, programs
from pyro_lvm.sites import density_sites

CHUNK_SIZE = 2**20  # codes times data at once: a few arrays of 8 MB
_ROWS = 1024


def log_fold_sums(
    pair: object,
    batch: Batch,
    folds: Sequence[Tensor],
    latents: Latents,
    layout: Layout,
    *,
    chunk_size: int = CHUNK_SIZE,
    progress: bool = False,
) -> Tensor:
    r"""Compute the log of the sum of q(z|x) over each fold of the data.

    .. math:: \log \sum_{n \in g} q(z_m \mid x_n)

    for every fold g of the data and every code m. The whole array of codes times data is never in memory.

    Args:
        pair: Any pair.
        batch: All data, observations ``[N, *X]`` first.
        folds: Rows of each fold, G tensors.
        latents: The codes by site, each ``[M, *Z]``.
        layout: As returned by :func:`~inference.densities.broadcasting.choose_layout`.
        chunk_size: Largest number of codes times data at once.
        progress: Whether to show a progress bar over the data.

    Returns:
        Log sums in nats, float64, shape ``[G, M]``.

    References:
        Hoffman, Johnson (2016), ELBO surgery. http://approximateinference.org/accepted/HoffmanJohnson2016.pdf
    """
    num_codes = len(next(iter(latents.values())))

    def of_part(_: int, part: Tensor) -> Tensor:
        block_log_sum = _block_log_sum(pair, tuple(x[part] for x in batch), layout)
        chunks = torch.arange(num_codes, device=part.device).split(max(1, chunk_size // len(part)))
        return torch.cat([block_log_sum({name: value[codes] for name, value in latents.items()}) for codes in chunks])  # [M]

    sums = torch.full((len(folds), num_codes), -math.inf, dtype=torch.float64, device=batch[0].device)
    rows = min(_ROWS, chunk_size)
    with tqdm(total=sum(map(len, folds)), desc="aggregate posterior", disable=not progress, leave=False) as bar:
        jobs = [(fold, part) for fold, rows_of_fold in enumerate(folds) for part in rows_of_fold.split(rows)]
        with all_workers(1) as each:
            for (fold, part), density in zip(jobs, each(of_part, jobs), strict=True):
                sums[fold] = torch.logaddexp(sums[fold], density)
                bar.update(len(part))
    return sums


def leave_out(sums: Tensor, sizes: Tensor) -> Tensor:
    r"""Log density of the aggregate posterior of all folds except one, :math:`\log q_{-g}(z)`.

    Args:
        sums: As returned by :func:`log_fold_sums`, shape ``[G, M]``.
        sizes: Number of data in each fold, shape ``[G]``.

    Returns:
        Log densities in nats, shape ``[G, M]``.
    """
    others = [torch.cat([sums[:g], sums[g + 1 :]]).logsumexp(0) for g in range(len(sums))]
    return torch.stack(others) - (sizes.sum() - sizes).to(sums).log()[:, None]


def is_matrix_form(pair: object, batch: Batch) -> bool:
    """Whether the aggregate posterior is a mixture whose density is a matrix product, such as one of diagonal normals."""
    return _matrix_form(_guide_trace(pair, batch)) is not None


def _guide_trace(pair: object, batch: Batch) -> poutine.Trace:
    return poutine.trace(programs(pair)[1]).get_trace(*batch)


def _matrix_form(trace: poutine.Trace) -> Distribution | None:
    sites = density_sites(trace)
    if len(sites) != 1 or sites[0]["mask"] is not None or len(sites[0]["fn"].event_shape) != 1:
        return None
    components = sites[0]["fn"]
    logits = sites[0]["value"].new_zeros(components.batch_shape, dtype=torch.float64)
    density = mixture(logits, components)
    return None if isinstance(density, MixtureSameFamily) else density


def _block_log_sum(pair: object, batch: Batch, layout: Layout) -> Callable[[Latents], Tensor]:
    size = len(batch[0])
    density = _matrix_form(_guide_trace(pair, batch))
    if density is not None:
        return lambda latents: density.log_prob(next(iter(latents.values())).double()) + math.log(size)

    def log_sum(latents: Latents) -> Tensor:
        # The guide's networks produce many numbers for every pair of code and datum.
        features = sum(value[0].numel() for value in latents.values())
        codes = torch.arange(len(next(iter(latents.values()))), device=batch[0].device)
        parts = codes.split(max(1, len(codes) // features))
        return torch.cat([part_log_sum({name: value[part] for name, value in latents.items()}) for part in parts])

    def part_log_sum(latents: Latents) -> Tensor:
        num_codes = len(next(iter(latents.values())))
        pairs = {name: z[:, None].expand(num_codes, size, *z.shape[1:]) for name, z in latents.items()}  # [M, B, *Z]
        trace = run_guide(programs(pair)[1], batch, num_codes, layout, pairs)
        return guide_density(trace, num_codes, size, layout).double().logsumexp(1)  # [M]

    return log_sum


def log_marginals(pair: object, batch: Batch, z: Tensor, *, chunk_size: int = CHUNK_SIZE) -> Tensor | None:
    r"""Log densities of the marginals of the aggregate posterior, :math:`\log q(z_d) = \log \frac{1}{N} \sum_n q(z_d \mid x_n)`.

    Args:
        pair: A pair with a single latent.
        batch: All data, observations ``[N, *X]`` first.
        z: Codes, shape ``[M, *Z]``.
        chunk_size: Largest number of codes times data times latent features at once.

    Returns:
        Log densities in nats, float64, shape ``[M, D]``, or None if q(z|x) has no marginals in closed form.
    """
    features = z[0].numel()

    def of_part(part: Tensor) -> Tensor | None:
        density = site_marginals(_guide_trace(pair, tuple(x[part] for x in batch)))
        if density is None:
            return None
        chunks = torch.arange(len(z), device=z.device).split(max(1, chunk_size // (len(part) * features)))
        log_sums = [density.log_prob(z[codes][:, None]).double().logsumexp(1) for codes in chunks]  # [M, *Z] in all
        return torch.cat(log_sums).reshape(-1, features)

    total = z.new_full((len(z), features), -math.inf, dtype=torch.float64)
    rows = torch.arange(len(batch[0]), device=z.device)
    with all_workers(1) as each:
        for log_sum in each(of_part, ((part,) for part in rows.split(max(1, min(_ROWS, chunk_size // features))))):
            if log_sum is None:
                return None
            total = torch.logaddexp(total, log_sum)
    return total - math.log(len(batch[0]))


def site_marginals(trace: poutine.Trace) -> Distribution | None:
    """The marginals of the only latent of a trace, or None if they have no closed form."""
    (site,) = [site for site in density_sites(trace) if not site["is_observed"]]
    return None if site["mask"] is not None else marginals(site["fn"])
