"""Where the log densities of a pair are combined: one run of the guide, one of the model, one number for each particle and datum."""

from collections.abc import Callable

from pyro import poutine
from pyro.distributions.util import scale_and_mask
import torch
from torch import Tensor

from inference.densities.layout import Latents, Layout, run_guide, run_model
from pyro_lvm.sites import density_sites


def unweighted(site: dict) -> float:
    """Gives every density the weight one, whatever the plate's subsampling or the warm-up says."""
    return 1.0


def guide_draws(guide: Callable[..., object], batch: tuple[Tensor, ...], num_particles: int, layout: Layout) -> tuple[Tensor, Latents]:
    """Log density ``[K, B]`` of fresh draws, and the draws ``[K, B, ...]`` by site."""
    trace, size = run_guide(guide, batch, num_particles, layout), len(batch[0])
    return log_density(trace, num_particles, size, layout), latents_of(trace, num_particles, size, layout)


def model_density(model: Callable[..., object], batch: tuple[Tensor, ...], latents: Latents, num_particles: int, layout: Layout) -> Tensor:
    """Log density ``[K, B]`` of the model at given latents ``[K, B, ...]``."""
    return log_density(run_model(model, batch, latents, num_particles, layout), num_particles, len(batch[0]), layout)


def latents_of(trace: poutine.Trace, num_particles: int, size: int, layout: Layout) -> Latents:
    """The unobserved values of a guide's trace, each ``[K, B, ...]``."""
    return {site["name"]: layout.split(site["value"], num_particles, size) for site in density_sites(trace) if not site["is_observed"]}


def log_density(
    trace: poutine.Trace,
    num_particles: int,
    size: int,
    layout: Layout,
    weight: Callable[[dict], float | Tensor] = unweighted,
    where: Callable[[dict], bool] | None = None,
) -> Tensor:
    r"""The log density of a trace for each particle and datum, with enumerated sites summed out.

    .. math:: \log \sum_c \prod_i p_i(\cdot)^{w_i}

    over the sites i of the trace and the values c of its enumerated sites.

    Args:
        trace: A trace of the model or the guide.
        weight: The weight :math:`w_i` of a site's log density.
        where: Which sites; by default all.

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
