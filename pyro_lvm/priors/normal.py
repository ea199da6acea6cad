"""Standard normal prior."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
import torch
from torch import Tensor, nn

from pyro_lvm.checks import check_counts


class Standard(nn.Module):
    """Base class of priors with location 0 and scale 1 for each of D features."""

    loc: Tensor
    scale: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        check_counts(latent_dim=latent_dim)
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)


class StandardNormal(Standard):
    r"""Standard normal prior.

    .. math:: p(z) = \mathcal N(z \mid 0, I)

    Args:
        latent_dim: Number of latent features, :math:`D`.

    Raises:
        ValueError: If ``latent_dim`` is below 1.
    """

    def forward(self) -> TorchDistribution:
        return dist.Normal(self.loc, self.scale).to_event(1)
