"""Priors that are not normal against scipy."""

import math

import numpy as np
import pytest
from scipy import special, stats
from spaces import unit
import torch
from torch import Tensor

from pyro_lvm import DirichletPrior, LaplacePrior, LogisticNormalPrior, StudentTPrior, UniformSpherePrior


def reals(seed: int) -> Tensor:
    return torch.randn(50, 2, generator=torch.Generator().manual_seed(seed)).double()


def shares(seed: int) -> Tensor:
    return reals(seed).softmax(-1)


def unit_vectors(seed: int) -> Tensor:
    return torch.stack([unit(5, seed + i) for i in range(4)])


def logistic_normal(z: np.ndarray) -> np.ndarray:
    """Of two shares with logits that are a difference of two normal numbers of scale 2."""
    return stats.norm(0, 2 * 2**0.5).logpdf(special.logit(z[:, 0])) - np.log(z).sum(-1)


DENSITIES = {  # a prior, values, and their log density by scipy or in closed form
    "laplace": (LaplacePrior(2), reals, lambda z: stats.laplace.logpdf(z).sum(-1)),
    "student-t": (StudentTPrior(2, df=3.3), reals, lambda z: stats.t(3.3).logpdf(z).sum(-1)),
    "dirichlet": (DirichletPrior(2, concentration=0.7), shares, lambda z: stats.dirichlet([0.7, 0.7]).logpdf(z.T)),
    "logistic-normal": (LogisticNormalPrior(2, scale=2.0), shares, logistic_normal),
    "sphere": (UniformSpherePrior(5), unit_vectors, lambda z: np.full(len(z), -math.log(2 * math.pi**2.5 / math.gamma(2.5)))),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_densities_equal_scipy(name):
    prior, values, log_density = DENSITIES[name]
    z = values(0)
    torch.testing.assert_close(prior.double()().log_prob(z), torch.as_tensor(log_density(z.numpy())))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DirichletPrior(1), "latent_dim must be an integer of at least 2; got 1"),
        (lambda: UniformSpherePrior(1), "latent_dim must be an integer of at least 2; got 1"),
        (lambda: LogisticNormalPrior(0), "latent_dim must be an integer of at least 2; got 0"),
        (lambda: LaplacePrior(0), "latent_dim must be an integer of at least 1; got 0"),
        (lambda: StudentTPrior(2, df=0.0), "df must be positive and finite; got 0.0"),
        (lambda: DirichletPrior(2, concentration=-1.0), "concentration must be positive and finite; got -1.0"),
        (lambda: LogisticNormalPrior(2, scale=0.0), "scale must be positive and finite; got 0.0"),
    ],
)
def test_errors_name_the_remedy(build, message):
    with pytest.raises(ValueError, match=message):
        build()
