"""Priors that are not normal against scipy."""

import math

import pytest
from scipy import special, stats
from spaces import unit
import torch

from pyro_lvm import DirichletPrior, LaplacePrior, LogisticNormalPrior, StudentTPrior, UniformSpherePrior


def test_priors_equal_scipy():
    z = torch.randn(50, 2).double()
    torch.testing.assert_close(LaplacePrior(2).double()().log_prob(z), torch.as_tensor(stats.laplace.logpdf(z.numpy())).sum(-1))
    torch.testing.assert_close(StudentTPrior(2, df=3.3).double()().log_prob(z), torch.as_tensor(stats.t(3.3).logpdf(z.numpy())).sum(-1))
    shares = z.softmax(-1)
    expected = torch.tensor([stats.dirichlet([0.7, 0.7]).logpdf(row) for row in shares.numpy()])
    torch.testing.assert_close(DirichletPrior(2, concentration=0.7).double()().log_prob(shares), expected)
    expected = stats.norm(0, 2 * 2**0.5).logpdf(special.logit(shares[:, 0].numpy())) - shares.log().sum(-1).numpy()
    torch.testing.assert_close(LogisticNormalPrior(2, scale=2.0).double()().log_prob(shares), torch.as_tensor(expected))
    sphere = torch.stack([unit(5, seed) for seed in range(4)])
    area = 2 * math.pi**2.5 / math.gamma(2.5)
    torch.testing.assert_close(UniformSpherePrior(5).double()().log_prob(sphere), torch.full((4,), -math.log(area)).double())


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
