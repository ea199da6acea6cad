"""Mixtures of Student's t distributions, one for each datum, from which latents are drawn."""

from dataclasses import dataclass
import math

import torch
from torch import Tensor

from inference.scoring.proposals.normal import Normal, standard_normal


@dataclass(frozen=True)
class StudentT:
    r"""Multivariate Student's t distribution of a normal distribution's location and scale, for each of R data.

    .. math:: q(v) \propto \left(1 + (v - m)^T S^{-1} (v - m) / (\nu s^2) \right)^{-(\nu + D) / 2}

    Args:
        normal: N(m, S).
        dof: Degrees of freedom, :math:`\nu`.
        scale: Factor of the scale, :math:`s`.
    """

    normal: Normal
    dof: float
    scale: float = 1.0

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density ``[K, R]`` at values ``[K, R, D]``."""
        dim, dof = value.shape[2], self.dof
        constant = math.lgamma((dof + dim) / 2) - math.lgamma(dof / 2) - dim * (0.5 * math.log(dof * math.pi) + math.log(self.scale))
        squares = self.normal.whitened(value - self.normal.loc).square().sum(2)
        return constant - self.normal.log_scale - 0.5 * (dof + dim) * (squares / (dof * self.scale**2)).log1p()

    def slope(self, value: Tensor) -> Tensor:
        """Return the gradient ``[K, R, D]`` of the log density at values ``[K, R, D]``."""
        white = self.normal.whitened(value - self.normal.loc)
        spread = self.dof * self.scale**2 + white.square().sum(2, keepdim=True)
        return -(self.dof + value.shape[2]) * self.normal.recolored(white / spread)


@dataclass(frozen=True)
class Mixture:
    """Mixture of Student's t distributions for each of R data; every draw has a component of its own.

    Args:
        components: The C components.
        shares: Their probabilities, float64, shape ``[C, R]``.
    """

    components: tuple[StudentT, ...]
    shares: Tensor

    def rows(self, rows: slice) -> "Mixture":
        """Return the mixtures of some of the data."""
        parts = (StudentT(each.normal.rows(rows), each.dof, each.scale) for each in self.components)
        return Mixture(tuple(parts), self.shares[:, rows])

    def without_unused(self) -> "Mixture":
        """Return the mixture without those components that no datum uses."""
        used = (self.shares > 0).any(1).tolist()
        return Mixture(tuple(each for each, is_used in zip(self.components, used, strict=True) if is_used), self.shares[used])

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw ``[count, R, D]``."""
        like = self.components[0].normal.loc
        uniform = torch.rand((count, len(like)), generator=generator, dtype=like.dtype, device=like.device)
        return self.sample_from(self.component_at(uniform), generator)

    def component_at(self, uniform: Tensor) -> Tensor:
        """Return the components ``[K, R]`` in whose shares numbers between 0 and 1 fall."""
        return (uniform >= self.shares.cumsum(0)[:-1, None]).sum(0)

    def sample_from(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Draw ``[K, R, D]`` from chosen components ``[K, R]``."""
        like = self.components[0].normal.loc
        noise = standard_normal((len(chosen), *like.shape), like, generator)
        dof = like.new_tensor([each.dof for each in self.components])[chosen]  # [K, R]
        noise = noise * (0.5 * dof / torch._standard_gamma(0.5 * dof, generator=generator)).sqrt()[..., None]
        draws = torch.stack([each.normal.loc + each.scale * each.normal.colored(noise) for each in self.components])  # [C, K, R, D]
        return draws.take_along_dim(chosen[None, ..., None], 0)[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density ``[K, R]`` at values ``[K, R, D]``."""
        terms = torch.stack([each.log_prob(value) for each in self.components])  # [C, K, R]
        return (terms + self.shares.log()[:, None]).logsumexp(0)

    def scored(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log density ``[K, R]`` at values ``[K, R, D]``, and its gradient ``[K, R, D]``."""
        terms = torch.stack([each.log_prob(value) for each in self.components]) + self.shares.log()[:, None]  # [C, K, R]
        slopes = torch.stack([each.slope(value) for each in self.components])  # [C, K, R, D]
        return terms.logsumexp(0), (terms.softmax(0)[..., None] * slopes).sum(0)
