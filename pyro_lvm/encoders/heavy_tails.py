"""Guides with heavier tails than the normal."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
import torch
from torch import Tensor, nn

from pyro_lvm.checks import check_positive
from pyro_lvm.distributions.student_t import StudentT
from pyro_lvm.encoders.normal import halves


class LaplaceEncoder(nn.Module):
    r"""Laplace guide.

    .. math:: q(z \mid x) = \prod_d \tfrac{1}{2 s_d(x)} e^{-|z_d - m_d(x)| / s_d(x)}

    Args:
        network: As for :class:`~pyro_lvm.encoders.normal.NormalEncoder`.

    Raises:
        ValueError: If (on call) the network returns an odd number of features.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> TorchDistribution:
        loc, log_scale = halves(self.network(*inputs), 1)  # [*lead, D]
        return dist.Laplace(loc, log_scale.exp()).to_event(1)


class StudentTEncoder(nn.Module):
    r"""Student t guide, whose tails cover a posterior that a normal guide misses.

    .. math:: q(z \mid x) = \prod_d t_\nu\big((z_d - m_d(x)) / s_d(x)\big) / s_d(x)

    Args:
        network: As for :class:`~pyro_lvm.encoders.normal.NormalEncoder`.
        df: Degrees of freedom, :math:`\nu`.

    Raises:
        ValueError: If ``df`` is not positive.
    """

    def __init__(self, network: nn.Module, *, df: float = 4.0) -> None:
        super().__init__()
        check_positive(df=df)
        self.network = network
        self.df = df

    def forward(self, *inputs: Tensor) -> TorchDistribution:
        loc, log_scale = halves(self.network(*inputs), 1)  # [*lead, D]
        return StudentT(torch.full_like(loc, self.df), loc, log_scale.exp()).to_event(1)
