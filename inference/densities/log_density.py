"""Combine the log densities in a run of the guide or the model into one number for each particle and datum."""

from collections.abc import Callable

from pyro import poutine
from pyro.distributions.util import scale_and_mask
import torch
from torch import Tensor

from inference.densities.layout import Latents, Layout, run_guide, run_model
from pyro_lvm.pair import Batch
from pyro_lvm.sites import Site, density_sites


def unweighted(site: Site) -> float:
    """Weight every density by one, regardless of the plate's subsampling and the warm-up."""
    return 1.0


def guide_draws(guide: Callable[..., object], batch: Batch, num_particles: int, layout: Layout) -> tuple[Tensor, Latents]:
    """Draw from the guide, and return the log density ``[K, B]`` of the draws and the draws ``[K, B, ...]`` by site."""
    trace, size = run_guide(guide, batch, num_particles, layout), len(batch[0])
    return log_density(trace, num_particles, size, layout), latents_of(trace, num_particles, size, layout)


def model_density(model: Callable[..., object], batch: Batch, latents: Latents, num_particles: int, layout: Layout) -> Tensor:
    """Return the log density ``[K, B]`` of the model at given latents ``[K, B, ...]``."""
    return log_density(run_model(model, batch, latents, num_particles, layout), num_particles, len(batch[0]), layout)


def latents_of(trace: poutine.Trace, num_particles: int, size: int, layout: Layout) -> Latents:
    """Return the unobserved values of a guide's trace by site, each ``[K, B, ...]``."""
    return {site["name"]: layout.split(site["value"], num_particles, size) for site in density_sites(trace) if not site["is_observed"]}


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
    rows = (num_particles, size) if layout.broadcast else (1, num_particles * size)
    terms = [
        weight(site) * scale_and_mask(site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]), mask=site["mask"])
        for site in density_sites(trace)
        if where is None or where(site)
    ]
    total = sum(terms, terms[0].new_zeros(rows) if terms else torch.zeros(rows))  # [..., K, B]
    if total.dim() > 2:
        total = total.flatten(0, -3).logsumexp(0)  # [K, B]
    return total.reshape(num_particles, size)
