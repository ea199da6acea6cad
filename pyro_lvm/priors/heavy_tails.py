"""Priors with heavier tails than the normal."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
import torch

from pyro_lvm.checks import check_positive
from pyro_lvm.distributions.student_t import StudentT
from pyro_lvm.priors.normal import Standard


class LaplacePrior(Standard):
    r"""Laplace prior, sparser than the normal.

    .. math:: p(z) = \prod_d \tfrac12 e^{-|z_d|}

    Args:
        latent_dim: Number of latent features, :math:`D`.

    Raises:
        ValueError: If ``latent_dim`` is below 1.
    """

    def forward(self) -> TorchDistribution:
        return dist.Laplace(self.loc, self.scale).to_event(1)


class StudentTPrior(Standard):
    r"""Student t prior, with heavier tails than the normal.

    .. math:: p(z) = \prod_d t_\nu(z_d)

    Args:
        latent_dim: Number of latent features, :math:`D`.
        df: Degrees of freedom, :math:`\nu`.

    Raises:
        ValueError: If ``latent_dim`` is below 1, or ``df`` is not positive and finite.
    """

    def __init__(self, latent_dim: int, *, df: float = 4.0) -> None:
        super().__init__(latent_dim)
        check_positive(df=df)
        self.df = df

    def forward(self) -> TorchDistribution:
        return StudentT(torch.full_like(self.loc, self.df), self.loc, self.scale).to_event(1)
