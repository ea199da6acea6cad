"""Priors p(z) other than normal: heavy-tailed, sparse, of proportions, of unit vectors; none has parameters to learn."""

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import nn

from pyro_lvm.manifolds import LogisticNormal, PowerSpherical
from pyro_lvm.univariate import StudentT

__all__ = ["DirichletPrior", "LaplacePrior", "LogisticNormalPrior", "StudentTPrior", "UniformSpherePrior"]


class _Standard(nn.Module):
    """Location 0 and scale 1 for each of D features."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1; got {latent_dim}. Give a positive whole number.")
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)


class LaplacePrior(_Standard):
    r"""Laplace prior, sparser than the normal.

    .. math:: p(z) = \prod_d \tfrac12 e^{-|z_d|}

    Args:
        latent_dim: Number of latent features, :math:`D`.
    """

    def forward(self) -> TorchDistribution:
        return dist.Laplace(self.loc, self.scale).to_event(1)


class StudentTPrior(_Standard):
    r"""Student t prior, with heavier tails than the normal.

    .. math:: p(z) = \prod_d t_\nu(z_d)

    Args:
        latent_dim: Number of latent features, :math:`D`.
        df: Degrees of freedom, :math:`\nu`.

    Raises:
        ValueError: If ``df`` is not positive.
    """

    def __init__(self, latent_dim: int, *, df: float = 4.0) -> None:
        super().__init__(latent_dim)
        _check_positive(df=df)
        self.df = df

    def forward(self) -> TorchDistribution:
        return StudentT(torch.full_like(self.loc, self.df), self.loc, self.scale).to_event(1)


class DirichletPrior(nn.Module):
    r"""Dirichlet prior of proportions, D numbers that sum to 1, such as shares of topics.

    .. math:: p(z) \propto \prod_d z_d^{a - 1}

    Args:
        latent_dim: Number of proportions, :math:`D`.
        concentration: :math:`a`; 1 is uniform, less is sparse.

    Raises:
        ValueError: If ``latent_dim`` is below 2, or the concentration is not positive.
    """

    def __init__(self, latent_dim: int, *, concentration: float = 1.0) -> None:
        super().__init__()
        _check_at_least_two(latent_dim)
        _check_positive(concentration=concentration)
        self.concentration = concentration
        self.register_buffer("ones", torch.ones(latent_dim), persistent=False)

    def forward(self) -> TorchDistribution:
        return dist.Dirichlet(self.concentration * self.ones)


class LogisticNormalPrior(nn.Module):
    r"""Logistic-normal prior of proportions, D numbers that sum to 1.

    .. math:: z = \operatorname{softmax}(y), \quad y \sim \mathcal N(0, s^2 I)

    Args:
        latent_dim: Number of proportions, :math:`D`.
        scale: :math:`s`; the larger, the nearer to the corners.

    Raises:
        ValueError: If ``latent_dim`` is below 2, or the scale is not positive.
    """

    def __init__(self, latent_dim: int, *, scale: float = 1.0) -> None:
        super().__init__()
        _check_at_least_two(latent_dim)
        _check_positive(scale=scale)
        self.scale = scale
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> LogisticNormal:
        return LogisticNormal(self.loc, torch.full_like(self.loc, self.scale))


class UniformSpherePrior(nn.Module):
    r"""Uniform prior of unit vectors.

    .. math:: p(z) = \frac{\Gamma(D / 2)}{2 \pi^{D / 2}}, \quad |z| = 1

    Args:
        latent_dim: Number of entries of a vector, :math:`D`.

    Raises:
        ValueError: If ``latent_dim`` is below 2.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        _check_at_least_two(latent_dim)
        self.register_buffer("axis", torch.eye(latent_dim)[0], persistent=False)

    def forward(self) -> PowerSpherical:
        return PowerSpherical(self.axis, self.axis.new_zeros(()))


def _check_at_least_two(latent_dim: int) -> None:
    if latent_dim < 2:
        raise ValueError(f"latent_dim must be at least 2; got {latent_dim}. Proportions and unit vectors have so many numbers.")


def _check_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} must be positive; got {number}.")
