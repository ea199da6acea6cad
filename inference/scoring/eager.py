"""Draws and densities of a pair whose programs are run by Pyro, one thread at a time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import RLock

import torch
from torch import Tensor

from inference.densities.layout import Latents, Layout, run_guide, run_model
from inference.densities.log_density import guide_density, guide_draws, latents_of, log_density, model_density
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

    def guide_density(self, batch: Batch, latents: Latents) -> Tensor | None:
        """Return log q ``[K, B]`` at given latents, or None for a guide that has none there.

        Such a guide computes its latents from auxiliary draws, or transforms its draws by a map that it cannot invert.
        """
        count, size = len(next(iter(latents.values()))), len(batch[0])
        with PYRO:
            try:
                trace = run_guide(self.guide, batch, count, self.layout, latents)
                is_direct = latents_of(trace, count, size, self.layout).keys() == latents.keys()
                return guide_density(trace, count, size, self.layout).double() if is_direct else None
            except Exception:  # a program may raise any error at values that it has not drawn
                return None

    def prior_draws(self, batch: Batch, names: Sequence[str], num_particles: int) -> Latents:
        """Draw latents from the prior, each ``[K, B, *Z]``."""
        layout = replace(self.layout, enumerates=False)  # so that enumerated latents are drawn
        with PYRO:
            trace = run_model(self.model, batch, {}, num_particles, layout)
        drawn, size = latents_of(trace, num_particles, len(batch[0]), layout), len(batch[0])
        # of a plate without a size, one draw stands for all data
        return {name: drawn[name].expand(-1, size, *drawn[name].shape[2:]) for name in names}

    def prior_and_joint(self, batch: Batch, latents: Latents) -> tuple[Tensor, Tensor]:
        """Return log p(z) and log p(x, z) at given latents, each ``[K, B]``, float64."""
        count, size = len(next(iter(latents.values()))), len(batch[0])
        with PYRO:
            trace = run_model(self.model, batch, latents, count, self.layout)
        log_prior = log_density(trace, count, size, self.layout, where=lambda site: not site["is_observed"])
        return log_prior.double(), log_density(trace, count, size, self.layout).double()

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
