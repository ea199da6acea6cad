"""Why a fitted pair fails: prior holes both ways, what its rate is made of, units and codebooks in use."""

from collections.abc import Sequence
import math

import torch
from torch import Tensor

from inference.aggregate import CHUNK_SIZE, is_matrix_form, leave_out, log_fold_sums
from inference.codes import Batch, Codes, check_one_prior, diagnosable, draw_codes, draw_prior
from inference.densities import Latents, Layout, choose_layout
from inference.diagnosis import FIGURES, Diagnosis
from inference.figures import Figure, Sample, dimension_figures, hole_figures, level_figures, rate_figures, total_units
from inference.importance import check_counts, scoring
from inference.units import Units
from pyro_lvm.contract import Structure, check_batch

NUM_FOLDS = 10
_NUM_DRAWS, _NUM_DRAWS_SLOW = 10_000, 1_000


def diagnose(
    pair: object,
    data: Tensor | Sequence[Tensor],
    *,
    quantile: float = 0.01,
    num_draws: int | None = None,
    seed: int = 0,
    chunk_size: int | None = None,
    progress: bool = True,
) -> Diagnosis:
    r"""Compares the codes of data with the prior, and takes the rate apart.

    A prior draw lies outside the codes if the aggregate posterior's density there is below the ``quantile`` quantile of that
    density at codes of held-out data: ten folds, each scored under the mixture of the other nine. A code lies outside the prior
    if log p(z) there is below the quantile of log p at prior draws. If prior and codes agree, both shares are the quantile; of
    discrete codes less, as equal masses are not below one another.

    .. math:: q(z) = \frac{1}{N} \sum_{n=1}^N q(z \mid x_n), \quad
        \mathrm{MI} = \frac{1}{N} \sum_n E_{q(z \mid x_n)} \left[ \log \frac{q(z \mid x_n)}{q(z)} \right] \le \log N

    The mixture is of all N data; codes are scored at random data, several for each where N is below ``num_draws``. Several
    latents are one joint code. Memory does not grow with the number of codes times N.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``.
        data: Observations ``[N, *X]``, or a tuple of tensors with these first.
        quantile: Share of the codes that lies outside the codes by definition.
        num_draws: Prior draws, and about as many codes; by default 10 000, or 1000 where q(z|x) is no diagonal normal, so that
            the guide itself must score every code for every datum.
        seed: Seed of codes, draws, folds and classifier.
        chunk_size: At most so many codes times data at once.
        progress: Whether to show a progress bar.

    Returns:
        The figures with their standard errors.

    Raises:
        ValueError: If the pair breaks the contract of a pair or has no likelihood per datum, its prior depends on the datum, its
            guide has auxiliary draws, the data or draws are too few for the quantile, or a log density is not finite.

    References:
        Hoffman, Johnson (2016), ELBO surgery. http://approximateinference.org/accepted/HoffmanJohnson2016.pdf

        Chen et al. (2018), Isolating Sources of Disentanglement in VAEs. https://arxiv.org/abs/1802.04942
    """
    batch = (data,) if isinstance(data, Tensor) else tuple(data)
    size = check_batch(*batch)
    check_counts(num_draws=num_draws, chunk_size=chunk_size)
    _check_quantile(quantile, size, num_draws)
    with scoring(pair, batch[0].device):
        few = tuple(x[:2] for x in batch)
        structure, layout = diagnosable(pair, few), choose_layout(pair, batch)
        num_draws = num_draws or (_NUM_DRAWS if is_matrix_form(pair, few) else _NUM_DRAWS_SLOW)
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed)).to(batch[0].device)
        chunk_size = chunk_size or CHUNK_SIZE
        sample = _sample(pair, batch, order, structure, layout, num_draws, seed, chunk_size, progress)
        figures = rate_figures(sample, size) | hole_figures(sample, quantile, seed)
        dimensions, dimension_kls = dimension_figures(pair, batch, structure, sample, chunk_size)
        levels, units = level_figures(pair, batch, order[:num_draws], structure, sample, layout, seed)
    figures |= dimensions | {"active_units": total_units(units)}
    counts = {"num_data": size, "num_codes": sample.log_q.numel(), "num_draws": num_draws}
    return Diagnosis(**_fields(figures, levels, dimension_kls, units), **counts, quantile=quantile, seed=seed)


def _fields(
    figures: dict[str, Figure], levels: dict[str, Figure], dimension_kls: list[Figure], units: dict[str, Units]
) -> dict[str, object]:
    return dict(
        **{name: figures[name].value for name in FIGURES},
        dimension_kls=torch.tensor([figure.value for figure in dimension_kls], dtype=torch.float64),
        dimension_kl_errors=torch.tensor([figure.error for figure in dimension_kls], dtype=torch.float64),
        unit_variances={name: unit.variance for name, unit in units.items()},
        collapsed={name: unit.collapsed for name, unit in units.items()},
        levels={name: figure.value for name, figure in levels.items()},
        standard_errors={name: figure.error for name, figure in (figures | levels).items()},
        notes={name: figure.note for name, figure in (figures | levels).items()},
    )


def _check_quantile(quantile: float, num_data: int, num_draws: int | None) -> None:
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must lie between 0 and 1; got {quantile}. Take 0.01 for the outermost hundredth.")
    least = max(math.ceil(1 / quantile - 1e-9), 2 * NUM_FOLDS)
    for name, count in (("data", num_data), ("num_draws", num_draws)):
        if count is not None and count < least:
            raise ValueError(
                f"{name} must number at least {least} for quantile {quantile}; got {count}. Take more, or a larger quantile."
            )


def _sample(
    pair: object,
    batch: Batch,
    order: Tensor,
    structure: Structure,
    layout: Layout,
    num_draws: int,
    seed: int,
    chunk_size: int,
    progress: bool,
) -> Sample:
    """Codes of the first rows in ``order``, prior draws, and the aggregate posterior at both."""
    rows, num_particles = order[:num_draws], max(1, num_draws // len(order))
    codes = draw_codes(pair, batch, rows, num_particles, layout, seed)
    check_one_prior(pair, batch, rows, codes, layout)
    draws, log_p_draws = draw_prior(pair, batch, num_draws, structure.latents, layout, seed)
    points = {name: torch.cat([codes.latents[name].flatten(0, 1), draws[name]]) for name in structure.latents}
    folds = [order[g::NUM_FOLDS] for g in range(NUM_FOLDS)]
    sums = log_fold_sums(pair, batch, folds, points, layout, chunk_size=chunk_size, progress=progress)  # [G, P]
    left = leave_out(sums, torch.tensor([len(fold) for fold in folds]))  # [G, P]
    return _scored(codes, draws, log_p_draws, sums.logsumexp(0) - math.log(len(order)), left)


def _scored(codes: Codes, draws: Latents, log_p_draws: Tensor, log_q: Tensor, left: Tensor) -> Sample:
    """Parts the aggregate posterior's densities, first at the codes and then at the draws, between them."""
    shape = codes.log_q.shape
    index = torch.arange(shape.numel(), device=log_q.device)
    own_fold = index % shape[1] % NUM_FOLDS
    return Sample(
        codes=codes,
        draws=draws,
        log_q=log_q[: len(index)].reshape(shape),
        log_q_held_out=left[own_fold, index].reshape(shape),
        log_p_draws=log_p_draws,
        log_q_draws=log_q[len(index) :],
        log_q_draws_left=left[:, len(index) :],
    )
