"""Distributions on the simplex and on the sphere that torch lacks, with reparameterized draws."""

import math

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Size, Tensor

from pyro_lvm.univariate import log_gamma_ratio

__all__ = ["LogisticNormal", "PowerSpherical"]


class LogisticNormal(TorchDistribution):
    r"""Softmax of a normal vector: proportions whose logarithms vary like normal numbers.

    .. math:: z = \operatorname{softmax}(y), \quad y \sim \mathcal N(m, \operatorname{diag} s^2)

    Its density is that of :math:`z_1, \dots, z_{D-1}`, as a Dirichlet distribution's is. With :math:`u_d = \log z_d - m_d`,
    precisions :math:`w_d = s_d^{-2}` and their weighted mean :math:`\bar u`, integrating the shift that softmax forgets gives

    .. math:: p(z) = \frac{e^{-\frac12 \sum_d w_d (u_d - \bar u)^2}}{(2 \pi)^{(D - 1) / 2} \sqrt{\sum_d w_d} \prod_d s_d z_d}

    Args:
        loc: :math:`m`, shape ``[*batch, D]`` with D at least 2; only differences of its entries matter.
        scale: :math:`s`, positive, shape ``[*batch, D]``.

    Raises:
        ValueError: If the shapes disagree, or D is below 2.

    References:
        Aitchison, Shen (1980), Logistic-normal distributions: some properties and uses. https://doi.org/10.1093/biomet/67.2.261
    """

    arg_constraints = {"loc": constraints.real_vector, "scale": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        if loc.dim() < 1 or loc.shape[-1] < 2 or loc.shape != scale.shape:
            raise ValueError(
                "LogisticNormal needs loc and scale [*batch, D], D at least 2; got "
                f"{tuple(loc.shape)} and {tuple(scale.shape)}. Expand them first."
            )
        self.loc, self.scale = loc, scale
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: TorchDistribution | None = None) -> "LogisticNormal":
        new = self._get_checked_instance(LogisticNormal, _instance)
        new.loc, new.scale = self.loc.expand(*batch_shape, -1), self.scale.expand(*batch_shape, -1)
        super(LogisticNormal, new).__init__(Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_z, precision = value.log(), self.scale**-2  # [*lead, D]
        u, total = log_z - self.loc, precision.sum(-1)
        center = (precision * u).sum(-1) / total  # [*lead]
        squares = (precision * (u - center[..., None]) ** 2).sum(-1)
        constant = (value.shape[-1] - 1) * math.log(2 * math.pi) + total.log()
        return -0.5 * (squares + constant) - (self.scale.log() + log_z).sum(-1)

    def rsample(self, sample_shape: Size = Size()) -> Tensor:
        z = dist.Normal(self.loc, self.scale).rsample(sample_shape).softmax(-1)
        return z.clamp(min=torch.finfo(z.dtype).tiny)  # a share that underflows has no logarithm


class PowerSpherical(TorchDistribution):
    r"""Power spherical distribution of unit vectors; with concentration 0 the uniform distribution.

    .. math:: p(z) = \frac{(1 + m^\top z)^\kappa}{2^{\alpha + \beta} \pi^\beta\, \Gamma(\alpha) / \Gamma(\alpha + \beta)}, \quad
        \alpha = \tfrac{D - 1}{2} + \kappa, \quad \beta = \tfrac{D - 1}{2}

    a density with respect to the sphere's area.

    Args:
        loc: :math:`m`, unit vectors, shape ``[*batch, D]`` with D at least 2.
        concentration: :math:`\kappa \ge 0`, shape ``[*batch]``.

    Raises:
        ValueError: If the shapes disagree, or D is below 2.

    References:
        De Cao, Aziz (2020), The Power Spherical distribution. https://arxiv.org/abs/2006.04437
    """

    arg_constraints = {"loc": constraints.sphere, "concentration": constraints.nonnegative}
    support = constraints.sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor, *, validate_args: bool | None = None) -> None:
        if loc.dim() < 1 or loc.shape[-1] < 2 or loc.shape[:-1] != concentration.shape:
            raise ValueError(
                "PowerSpherical needs loc [*batch, D], D at least 2, and concentration [*batch]; got "
                f"{tuple(loc.shape)} and {tuple(concentration.shape)}. Expand them first."
            )
        self.loc, self.concentration = loc, concentration
        super().__init__(concentration.shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: TorchDistribution | None = None) -> "PowerSpherical":
        new = self._get_checked_instance(PowerSpherical, _instance)
        new.loc, new.concentration = self.loc.expand(*batch_shape, -1), self.concentration.expand(batch_shape)
        super(PowerSpherical, new).__init__(Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        # (1 + cosine) / 2 by the distance, which keeps its digits near the mean direction.
        distance = ((self.loc - value).square().sum(-1) / 4).clamp(max=1.0)
        return torch.special.xlog1py(self.concentration, -distance) - self._log_normalizer()

    def rsample(self, sample_shape: Size = Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        alpha, beta = self._alpha_beta()
        share = dist.Beta(beta, alpha).rsample(sample_shape)[..., None]  # (1 - cosine) / 2, [*shape, 1]
        tangent = torch.randn(*shape[:-1], shape[-1] - 1, dtype=self.loc.dtype, device=self.loc.device)
        tangent = tangent / tangent.norm(dim=-1, keepdim=True)
        sine = 2 * (share * (1 - share)).clamp(min=torch.finfo(share.dtype).tiny).sqrt()
        return self._reflected(torch.cat([1 - 2 * share, sine * tangent], -1))

    def _reflected(self, z: Tensor) -> Tensor:
        """The Householder reflection that takes the first axis to the mean direction."""
        normal = torch.cat([1 - self.loc[..., :1], -self.loc[..., 1:]], -1)
        square = normal.square().sum(-1, keepdim=True).clamp(min=torch.finfo(z.dtype).tiny)
        z = z - 2 * normal * (normal * z).sum(-1, keepdim=True) / square
        return z / z.norm(dim=-1, keepdim=True)

    def _alpha_beta(self) -> tuple[Tensor, Tensor]:
        half = (self.loc.shape[-1] - 1) / 2
        return self.concentration + half, torch.full_like(self.concentration, half)

    def _log_normalizer(self) -> Tensor:
        """That of ((1 + cosine) / 2)^kappa."""
        alpha, beta = self._alpha_beta()
        return (self.loc.shape[-1] - 1) * math.log(2) + beta * math.log(math.pi) - log_gamma_ratio(alpha, beta)

    @property
    def mean(self) -> Tensor:
        alpha, beta = self._alpha_beta()
        return ((alpha - beta) / (alpha + beta))[..., None] * self.loc
