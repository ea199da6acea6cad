"""Draws and densities of a pair whose programs are run by Pyro, one thread at a time."""

from collections.abc import Callable
from threading import RLock

import torch
from torch import Tensor

from inference.densities.layout import Latents, Layout
from inference.densities.log_density import guide_draws, model_density
from inference.densities.unconstrained import Coordinates
from inference.tracing.precision import Precision, products
from pyro_lvm.pair import Batch, programs

Draws = Callable[[Batch, int], tuple[Tensor, Latents]]
Density = Callable[[Batch, Latents, int], Tensor]
Scores = Callable[[Batch, Tensor], tuple[Tensor, Tensor]]
PYRO = RLock()  # all threads share Pyro's handlers and torch's generator


class Eager:
    """A pair's programs under a layout of particles.

    Args:
        pair: Any pair.
        layout: The layout that :func:`~inference.densities.broadcasting.choose_layout` returns.
    """

    def __init__(self, pair: object, layout: Layout) -> None:
        self.model, self.guide = programs(pair)
        self.layout = layout

    def draws(self, batch: Batch, num_particles: int) -> tuple[Tensor, Latents]:
        """Draw from the guide, and return log q ``[K, B]`` and the latents by site, each ``[K, B, *Z]``."""
        return guide_draws(self.guide, batch, num_particles, self.layout)

    def density(self, precision: Precision) -> Density:
        """Return a function for the model's log density ``[K, B]`` at given latents, with matrix products in ``precision``."""

        def density(batch: Batch, latents: Latents, num_particles: int) -> Tensor:
            with PYRO, products(precision):
                return model_density(self.model, batch, latents, num_particles, self.layout)

        return density

    def scores(self, coordinates: Coordinates, precision: Precision) -> Scores:
        """Return a function for log p(x, v) ``[K, B]`` at unconstrained vectors v ``[K, B, D]``, and its gradients ``[K, B, D]``."""

        def scores(batch: Batch, vector: Tensor) -> tuple[Tensor, Tensor]:
            with PYRO, products(precision), torch.enable_grad():
                vector = vector.detach().requires_grad_()
                latents, log_jacobian = coordinates.latents(vector)
                log_p = model_density(self.model, batch, latents, len(vector), self.layout) + log_jacobian
                (gradient,) = torch.autograd.grad(log_p.sum(), vector)
            return log_p.detach().to(coordinates.dtype), gradient.to(coordinates.dtype)

        return scores
