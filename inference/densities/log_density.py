"""Combine the log densities in a run of the guide or the model into one number for each particle and datum."""

from collections.abc import Callable

from opt_einsum import get_symbol
from pyro import poutine
from pyro.ops.einsum import contract
import torch
from torch import Tensor

from inference.densities.layout import Latents, Layout, run_guide, run_model
from pyro_lvm.pair import Batch
from pyro_lvm.sites import Site, density_sites, masked_log_prob


def unweighted(site: Site) -> float:
    """Weight every density by one, regardless of the plate's subsampling and the warm-up."""
    return 1.0


def guide_draws(guide: Callable[..., object], batch: Batch, num_particles: int, layout: Layout) -> tuple[Tensor, Latents]:
    """Draw from the guide, and return the log density ``[K, B]`` of the draws and the draws ``[K, B, ...]`` by site."""
    trace, size = run_guide(guide, batch, num_particles, layout), len(batch[0])
    return guide_density(trace, num_particles, size, layout), latents_of(trace, num_particles, size, layout)


def model_density(model: Callable[..., object], batch: Batch, latents: Latents, num_particles: int, layout: Layout) -> Tensor:
    """Return the log density ``[K, B]`` of the model at given latents ``[K, B, ...]``."""
    return log_density(run_model(model, batch, latents, num_particles, layout), num_particles, len(batch[0]), layout)


def latents_of(trace: poutine.Trace, num_particles: int, size: int, layout: Layout) -> Latents:
    """Return the unobserved values of a guide's trace by site, each ``[K, B, ...]``."""
    return {site["name"]: layout.split(site["value"], num_particles, size) for site in density_sites(trace) if not site["is_observed"]}


def guide_density(
    trace: poutine.Trace, num_particles: int, size: int, layout: Layout, weight: Callable[[Site], float | Tensor] = unweighted
) -> Tensor:
    """Return log q ``[K, B]`` from a guide's trace; what it observes, as Pyro's guide messengers do, and factors do not count."""
    return log_density(trace, num_particles, size, layout, weight, where=lambda site: not site["is_observed"])


def log_density(
    trace: poutine.Trace,
    num_particles: int,
    size: int,
    layout: Layout,
    weight: Callable[[Site], float | Tensor] = unweighted,
    where: Callable[[Site], bool] | None = None,
) -> Tensor:
    r"""Return the log density of a trace for each particle and datum, with enumerated sites summed out.

    .. math:: \log \sum_c \prod_i p_i(\cdot)^{w_i}

    Here i runs over the sites of the trace, and c over the values of its enumerated sites.

    Args:
        trace: A trace of the model or the guide.
        num_particles: Draws per datum, K.
        size: Number of data, B.
        layout: The layout of the trace.
        weight: The weight :math:`w_i` of a site's log density.
        where: Selects sites; by default, all sites count.

    Returns:
        Log density in nats, shape ``[K, B]``.
    """
    rows = (1, num_particles * size) if layout.style == "tiled" else (num_particles, size)
    sites = [site for site in density_sites(trace) if where is None or where(site)]
    terms = [weight(site) * masked_log_prob(site) for site in sites]
    if _share_dimensions(sites):
        return _eliminated(sites, terms, rows).reshape(num_particles, size)
    total = sum(terms, terms[0].new_zeros(rows) if terms else torch.zeros(rows))  # [..., K, B]
    if total.dim() > 2:
        total = total.flatten(0, -3).logsumexp(0)  # [K, B]
    return total.reshape(num_particles, size)


def log_joint(trace: poutine.Trace) -> Tensor:
    """Return the log density of a model's trace at every value of its enumerated sites, in the dimensions on the left."""
    return sum((masked_log_prob(site) for site in density_sites(trace)), torch.zeros(()))


def _share_dimensions(sites: list[Site]) -> bool:
    """Return whether enumerated sites share a dimension, as under ``pyro.markov``."""
    dims = [site["infer"]["_enumerate_dim"] for site in sites if site["infer"].get("_enumerate_dim") is not None]
    return len(dims) != len(set(dims))


def _eliminated(sites: list[Site], terms: list[Tensor], rows: tuple[int, int]) -> Tensor:
    """Sum out the enumerated sites one after the other, each of which has its own symbol although it shares its dimension.

    Raises:
        ValueError: If a site depends on one that ``pyro.markov`` no longer remembers.

    References:
        Obermeyer et al. (2019), Tensor Variable Elimination for Plated Factor Graphs. https://arxiv.org/abs/1902.03210
    """
    operands, names = [], []
    for site, term in zip(sites, terms, strict=True):
        numbers = {-1: 0, -2: 1} | {dim: 2 + number for dim, number in site["infer"].get("_dim_to_id", {}).items()}
        term = term.expand(torch.broadcast_shapes(term.shape, rows))
        kept = [dim for dim in range(-term.dim(), 0) if dim >= -2 or term.shape[dim] > 1]
        if not numbers.keys() >= set(kept):
            raise ValueError(
                f"site '{site['name']}' depends on an enumerated latent beyond the reach of pyro.markov: its value is already summed out "
                "there. Move the site into the loop, or give pyro.markov a longer history."
            )
        operands.append(term.reshape([term.shape[dim] for dim in kept]))
        names.append("".join(get_symbol(numbers[dim]) for dim in kept))
    return contract(f"{','.join(names)}->{get_symbol(1)}{get_symbol(0)}", *operands, backend="pyro.ops.einsum.torch_log")
