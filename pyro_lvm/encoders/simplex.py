"""Guides of proportions, D numbers that sum to 1."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_lvm.distributions.simplex import LogisticNormal
from pyro_lvm.encoders.normal import halves


class DirichletEncoder(nn.Module):
    r"""Dirichlet guide of proportions, D numbers that sum to 1.

    .. math:: q(z \mid x) \propto \prod_d z_d^{a_d(x) - 1}, \quad \log a(x) = \mathrm{network}(x)

    Args:
        network: Module that maps ``[*lead, *X]`` to ``[*lead, D]``, the log concentrations.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> TorchDistribution:
        return dist.Dirichlet(self.network(*inputs).exp())


class LogisticNormalEncoder(nn.Module):
    r"""Logistic-normal guide of proportions, D numbers that sum to 1.

    .. math:: z = \operatorname{softmax}(y), \quad y \sim \mathcal N(m(x), \operatorname{diag} s(x)^2)

    Args:
        network: As for :class:`~pyro_lvm.encoders.normal.NormalEncoder`.

    Raises:
        ValueError: If (on call) the network returns an odd number of features.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> LogisticNormal:
        loc, log_scale = halves(self.network(*inputs), 1)  # [*lead, D]
        return LogisticNormal(loc, log_scale.exp())
