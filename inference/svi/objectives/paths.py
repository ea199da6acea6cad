"""Gradients along the path of a draw: those of the guide's density at fixed parameters, and weights of those that latents receive."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from inference.densities.layout import Latents, Layout, runs_of
from pyro_lvm.sites import Site, masked_log_prob


def path_gradients(sites: list[Site], layout: Layout, num_particles: int, size: int, weight: Callable[[Site], float | Tensor]) -> Latents:
    r"""Return the gradients of the guide's log density with respect to each latent, at fixed parameters and other latents.

    .. math:: \frac{\partial}{\partial z_l} \sum_m w_m \log q_\phi(z_m \mid z_{<m}, x)

    The guide is not run again, so that its dropout and its batch statistics are those of the draws.

    Args:
        sites: The sites of the guide's density, in their order.
        layout: The layout of the guide's run.
        num_particles: Draws per datum, K.
        size: Number of data, B.
        weight: The weight :math:`w_m` of a site's log density.

    Returns:
        Gradients by site, ``[K, B, *Z]``, of the latents that carry a gradient.
    """
    runs = [_of_run(run, weight) for run in runs_of(sites, layout)]
    if layout.style == "looped":
        return {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
    return {name: layout.split(gradient, num_particles, size) for name, gradient in runs[0].items()}


def _of_run(sites: list[Site], weight: Callable[[Site], float | Tensor]) -> Latents:
    """Return the gradients in one run.

    The density is taken at copies of the draws, which are fixed, so that its gradient with respect to a draw is what comes through the
    distributions of later sites; of that, what comes through later draws is taken off.
    """
    latents = {site["name"]: site["value"] for site in sites if not site["is_observed"] and site["value"].requires_grad}
    copies = {name: value.detach().requires_grad_() for name, value in latents.items()}
    terms = [(weight(site) * masked_log_prob(site | {"value": copies.get(site["name"], site["value"])})).sum() for site in sites]
    total = sum(terms, torch.zeros(()))
    if not latents or not total.requires_grad:
        return {name: torch.zeros_like(value) for name, value in latents.items()}
    direct = dict(zip(copies, _gradients([total], [None], list(copies.values())), strict=True))
    later: Latents = {}
    for name, value in reversed(latents.items()):
        outputs = [total, *(latents[other] for other in later)]
        later[name] = _gradients(outputs, [None, *(-gradient for gradient in later.values())], [value])[0]
    return {name: direct[name] + later[name] for name in latents}


def _gradients(outputs: list[Tensor], weights: list[Tensor | None], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(outputs, inputs, weights, retain_graph=True, materialize_grads=True)


def weigh_gradients(latents: Latents, weights: Tensor, penalty: Tensor | None) -> None:
    """Multiply the gradients that latents ``[K, B, *Z]`` will receive by weights ``[K, B]``, except those of a penalty."""
    carriers = [value for value in latents.values() if value.requires_grad]
    kept: tuple[Tensor | None, ...] = (None,) * len(carriers)
    if penalty is not None and penalty.requires_grad and carriers:
        kept = torch.autograd.grad(penalty, carriers, retain_graph=True, allow_unused=True)
    for value, own in zip(carriers, kept, strict=True):
        value.register_hook(partial(_weighted, weights.detach(), own))


def _weighted(weights: Tensor, own: Tensor | None, gradient: Tensor) -> Tensor:
    weights = weights[(..., *[None] * (gradient.dim() - 2))]
    return weights * gradient if own is None else weights * (gradient - own) + own
