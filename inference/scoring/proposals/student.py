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
        shape = (count, *like.shape)
        uniform = torch.rand(shape[:2], generator=generator, dtype=like.dtype, device=like.device)
        chosen = (uniform >= self.shares.cumsum(0)[:-1, None]).sum(0)  # [K, R]
        noise = standard_normal(shape, like, generator)
        dof = like.new_tensor([each.dof for each in self.components])[chosen]  # [K, R]
        noise = noise * (0.5 * dof / torch._standard_gamma(0.5 * dof, generator=generator)).sqrt()[..., None]
        draws = torch.stack([each.normal.loc + each.scale * each.normal.colored(noise) for each in self.components])  # [C, K, R, D]
        return draws.take_along_dim(chosen[None, ..., None], 0)[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density ``[K, R]`` at values ``[K, R, D]``."""
        terms = torch.stack([each.log_prob(value) for each in self.components])  # [C, K, R]
        return (terms + self.shares.log()[:, None]).logsumexp(0)
