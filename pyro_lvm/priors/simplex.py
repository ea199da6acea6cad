"""Priors of proportions, D numbers that sum to 1."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
import torch
from torch import Tensor, nn

from pyro_lvm.checks import check_counts, check_positive
from pyro_lvm.distributions.simplex import LogisticNormal


class DirichletPrior(nn.Module):
    r"""Dirichlet prior of proportions, D numbers that sum to 1, such as shares of topics.

    .. math:: p(z) \propto \prod_d z_d^{a - 1}

    Args:
        latent_dim: Number of proportions, :math:`D`.
        concentration: :math:`a`; 1 gives a uniform prior, smaller values give sparse proportions.

    Raises:
        ValueError: If ``latent_dim`` is below 2, or the concentration is not positive.
    """

    ones: Tensor

    def __init__(self, latent_dim: int, *, concentration: float = 1.0) -> None:
        super().__init__()
        check_counts(2, latent_dim=latent_dim)
        check_positive(concentration=concentration)
        self.concentration = concentration
        self.register_buffer("ones", torch.ones(latent_dim), persistent=False)

    def forward(self) -> TorchDistribution:
        return dist.Dirichlet(self.concentration * self.ones)


class LogisticNormalPrior(nn.Module):
    r"""Logistic-normal prior of proportions, D numbers that sum to 1.

    .. math:: z = \operatorname{softmax}(y), \quad y \sim \mathcal N(0, s^2 I)

    Args:
        latent_dim: Number of proportions, :math:`D`.
        scale: :math:`s`; the larger it is, the nearer proportions are to the corners.

    Raises:
        ValueError: If ``latent_dim`` is below 2, or the scale is not positive.
    """

    loc: Tensor

    def __init__(self, latent_dim: int, *, scale: float = 1.0) -> None:
        super().__init__()
        check_counts(2, latent_dim=latent_dim)
        check_positive(scale=scale)
        self.scale = scale
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> LogisticNormal:
        return LogisticNormal(self.loc, torch.full_like(self.loc, self.scale))
