"""The path between a proposal and the posterior of each datum."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from inference.scoring.proposals.student import Mixture

Target = Callable[[Tensor], tuple[Tensor, Tensor]]


class Point(NamedTuple):
    """States of K chains for each of R data, in unconstrained coordinates, with the densities at both ends of a path.

    Attributes:
        vector: States v, float64, shape ``[K, R, D]``.
        log_q: Log density of the proposal, ``[K, R]``.
        log_p: Log density log p(x, v) of the model.
        slope_q: Gradient of ``log_q``, ``[K, R, D]``.
        slope_p: Gradient of ``log_p``.
    """

    vector: Tensor
    log_q: Tensor
    log_p: Tensor
    slope_q: Tensor
    slope_p: Tensor

    @property
    def energy(self) -> Tensor:
        """The difference log p(x, v) - log q(v), ``[K, R]``."""
        return self.log_p - self.log_q

    def log_density(self, beta: Tensor) -> Tensor:
        """Return the log density ``[K, R]`` at the places ``beta`` of the path, shape ``[R]``."""
        return (1 - beta) * self.log_q + beta * self.log_p

    def slope(self, beta: Tensor) -> Tensor:
        """Return the gradient ``[K, R, D]`` of the log density at the places ``beta`` of the path, shape ``[R]``."""
        return (1 - beta)[:, None] * self.slope_q + beta[:, None] * self.slope_p

    def replaced(self, where: Tensor, other: "Point") -> "Point":
        """Return the same with other states where ``where``, shape ``[K, R]``, is true."""
        masks = (where if value.dim() == 2 else where[..., None] for value in self)
        return Point(*(torch.where(mask, new, old) for mask, new, old in zip(masks, other, self, strict=True)))


class Path:
    r"""The geometric path from a proposal q to the joint density of a datum and its latents.

    .. math:: \pi_\beta(v) \propto q(v)^{1 - \beta} \, p(x, v)^\beta, \quad 0 \le \beta \le 1

    Args:
        proposal: q, for each of R data.
        target: Returns log p(x, v) ``[K, R]`` and its gradients ``[K, R, D]`` at vectors ``[K, R, D]``.

    Attributes:
        scales: The normal distribution of the first component, whose covariance sets the scales of the chains.
    """

    def __init__(self, proposal: Mixture, target: Target) -> None:
        self.proposal, self.target = proposal, target
        self.scales = proposal.components[0].normal

    def at(self, vector: Tensor) -> Point:
        """Return both densities and their gradients at vectors ``[K, R, D]``."""
        log_q, slope_q = self.proposal.scored(vector)
        log_p, slope_p = self.target(vector)
        return Point(vector, log_q, log_p.double(), slope_q, slope_p.double())

    def start(self, count: int, generator: torch.Generator) -> tuple[Point, Tensor]:
        """Draw the first states of K chains from the proposal, and the components ``[K, R]`` that they are from.

        Chains are spread evenly over the components: each is a draw from q, but all together miss none whose share exceeds 1 / K.
        """
        shape = (count, len(self.scales.loc))
        noise, order = self.scales.loc.new_empty(2, *shape).uniform_(generator=generator)
        chosen = self.proposal.component_at((order.argsort(0) + noise) / count)
        return self.at(self.proposal.sample_from(chosen, generator)), chosen
