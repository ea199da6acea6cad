"""Distribution of unit vectors that torch lacks, with reparameterized draws."""

import math

import pyro.distributions as dist
from pyro.distributions import TorchDistribution, constraints
import torch
from torch import Size, Tensor

from pyro_lvm.distributions import SizeLike
from pyro_lvm.distributions.special import log_gamma_ratio


class PowerSpherical(TorchDistribution):
    r"""Power spherical distribution of unit vectors; with concentration 0 it is uniform.

    .. math:: p(z) = \frac{(1 + m^\top z)^\kappa}{2^{\alpha + \beta} \pi^\beta\, \Gamma(\alpha) / \Gamma(\alpha + \beta)}, \quad
        \alpha = \tfrac{D - 1}{2} + \kappa, \quad \beta = \tfrac{D - 1}{2}

    which is a density with respect to the sphere's area.

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

    def expand(self, batch_shape: SizeLike, _instance: TorchDistribution | None = None) -> "PowerSpherical":
        new = self._get_checked_instance(PowerSpherical, _instance)
        new.loc, new.concentration = self.loc.expand(*batch_shape, -1), self.concentration.expand(batch_shape)
        super(PowerSpherical, new).__init__(Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        # (1 + cosine) / 2 is computed from the distance, which keeps its digits near the mean direction.
        distance = ((self.loc - value).square().sum(-1) / 4).clamp(max=1.0)
        return torch.special.xlog1py(self.concentration, -distance) - self._log_normalizer()

    def rsample(self, sample_shape: SizeLike = Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        alpha, beta = self._alpha_beta()
        share = dist.Beta(beta, alpha).rsample(sample_shape)[..., None]  # (1 - cosine) / 2, [*shape, 1]
        tangent = torch.randn(*shape[:-1], shape[-1] - 1, dtype=self.loc.dtype, device=self.loc.device)
        tangent = tangent / tangent.norm(dim=-1, keepdim=True)
        sine = 2 * (share * (1 - share)).clamp(min=torch.finfo(share.dtype).tiny).sqrt()
        return self._reflected(torch.cat([1 - 2 * share, sine * tangent], -1))

    def _reflected(self, z: Tensor) -> Tensor:
        """Apply the Householder reflection that takes the first axis to the mean direction."""
        normal = torch.cat([1 - self.loc[..., :1], -self.loc[..., 1:]], -1)
        square = normal.square().sum(-1, keepdim=True).clamp(min=torch.finfo(z.dtype).tiny)
        z = z - 2 * normal * (normal * z).sum(-1, keepdim=True) / square
        return z / z.norm(dim=-1, keepdim=True)

    def _alpha_beta(self) -> tuple[Tensor, Tensor]:
        half = (self.loc.shape[-1] - 1) / 2
        return self.concentration + half, torch.full_like(self.concentration, half)

    def _log_normalizer(self) -> Tensor:
        """Return the log normalizer of ((1 + cosine) / 2)^kappa."""
        alpha, beta = self._alpha_beta()
        return (self.loc.shape[-1] - 1) * math.log(2) + beta * math.log(math.pi) - log_gamma_ratio(alpha, beta)

    @property
    def mean(self) -> Tensor:
        alpha, beta = self._alpha_beta()
        return ((alpha - beta) / (alpha + beta))[..., None] * self.loc
