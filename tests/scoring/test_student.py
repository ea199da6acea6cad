"""Mixtures of Student's t distributions, against SciPy's density and their own draws."""

import numpy as np
from scipy import stats
import torch

from inference.scoring.proposals.normal import DiagonalNormal, FullNormal
from inference.scoring.proposals.student import Mixture, StudentT

DIM = 3


def mixture():
    torch.manual_seed(0)
    root = torch.randn(2, DIM, DIM).double()
    covariance = root @ root.mT + 0.5 * torch.eye(DIM).double()
    first = StudentT(FullNormal(torch.randn(2, DIM).double(), covariance, torch.linalg.cholesky(covariance)), 7.0, 1.3)
    second = StudentT(DiagonalNormal(torch.randn(2, DIM).double() + 4, torch.rand(2, DIM).double() + 0.5), 5.0)
    return Mixture((first, second), torch.tensor([[0.7, 1.0], [0.3, 0.0]], dtype=torch.float64))


def test_its_density_is_scipys():
    mix, value = mixture(), torch.randn(20, 2, DIM).double()
    for r in range(2):
        first = mix.components[0].normal
        expected = stats.multivariate_t(first.loc[r].numpy(), 1.3**2 * first.covariance[r].numpy(), df=7).logpdf(value[:, r].numpy())
        if r == 0:
            second = mix.components[1].normal
            other = stats.multivariate_t(second.loc[r].numpy(), np.diag(second.scale[r].numpy() ** 2), df=5).logpdf(value[:, r].numpy())
            expected = np.logaddexp(np.log(0.7) + expected, np.log(0.3) + other)
        np.testing.assert_allclose(mix.log_prob(value)[:, r].numpy(), expected, rtol=1e-10)


def test_its_draws_have_its_density():
    """E_q[f / q] = integral of f, for a normal density f around each component."""
    mix = mixture()
    draws = mix.sample(200_000, torch.Generator().manual_seed(1))
    for component in mix.components:
        place = component.normal.loc
        log_f = torch.distributions.Normal(place, 0.7).log_prob(draws).sum(2)
        weights = (log_f - mix.log_prob(draws)).exp()[:, :1]  # the second datum never draws the second component
        assert ((weights.mean(0) - 1).abs() < 5 * weights.std(0) / 200_000**0.5).all()


def test_draws_depend_on_the_generator_alone():
    mix = mixture()
    before = torch.get_rng_state()
    draws = [mix.sample(10, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*draws)
    assert torch.equal(torch.get_rng_state(), before)


def test_rows_are_those_of_the_whole():
    mix, value = mixture(), torch.randn(4, 2, DIM).double()
    torch.testing.assert_close(mix.rows(slice(1, 2)).log_prob(value[:, 1:]), mix.log_prob(value)[:, 1:])
