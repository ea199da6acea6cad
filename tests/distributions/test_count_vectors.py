"""Vectors of counts against scipy: their masses, their draws, and what their totals say."""

import numpy as np
import pytest
from scipy import integrate, stats
import torch

from pyro_lvm.distributions.counts import Multinomial, NegativeMultinomial

LOG_RATES = torch.tensor([[-1.0, 0.5, 2.0], [0.0, 1.0, -2.0]], dtype=torch.float64)
SHARES = LOG_RATES.softmax(-1).numpy()
COUNTS = torch.tensor([[0.0, 3.0, 9.0], [0.0, 0.0, 0.0]], dtype=torch.float64)


def test_negative_multinomial_is_a_total_times_a_multinomial() -> None:
    alpha, totals, n = 0.4, LOG_RATES.exp().sum(-1).numpy(), COUNTS.sum(-1).numpy()
    expected = stats.nbinom.logpmf(n, 1 / alpha, 1 / (1 + alpha * totals)) + stats.multinomial.logpmf(COUNTS.numpy(), n, SHARES)
    p = NegativeMultinomial(LOG_RATES, torch.tensor(alpha, dtype=torch.float64))
    torch.testing.assert_close(p.log_prob(COUNTS), torch.as_tensor(expected), rtol=1e-12, atol=1e-12)


def test_negative_multinomial_is_poisson_counts_with_a_factor_in_common() -> None:
    rates, alpha = LOG_RATES[0].exp().numpy(), 0.4

    def joint(factor: float) -> float:
        return stats.gamma.pdf(factor, 1 / alpha, scale=alpha) * stats.poisson.pmf(COUNTS[0].numpy(), factor * rates).prod()

    p = NegativeMultinomial(LOG_RATES, torch.tensor(alpha, dtype=torch.float64))
    assert p.log_prob(COUNTS)[0].item() == pytest.approx(np.log(integrate.quad(joint, 0, 8, epsabs=1e-14)[0]), abs=1e-9)


def test_multinomial_has_a_total_of_each_row_and_no_other() -> None:
    p = Multinomial(LOG_RATES, torch.tensor([12.0, 0.0], dtype=torch.float64))
    expected = stats.multinomial.logpmf(COUNTS.numpy(), [12, 0], SHARES)
    torch.testing.assert_close(p.log_prob(COUNTS), torch.as_tensor(expected), rtol=1e-12, atol=1e-12)
    assert p.log_prob(COUNTS + 1).eq(-torch.inf).all()


def test_draws_have_their_moments() -> None:
    torch.manual_seed(0)
    totals = torch.tensor([7.0, 40.0], dtype=torch.float64)
    mean = totals.numpy()[:, None] * SHARES
    drawn = Multinomial(LOG_RATES, totals).sample((40_000,)).numpy()
    assert (drawn.sum(-1) == totals.numpy()).all()
    outer = SHARES[:, :, None] * (np.eye(3) - SHARES[:, None, :])
    _check_moments(drawn, mean, totals.numpy()[:, None, None] * outer)
    alpha, rates = 0.3, LOG_RATES.exp().numpy()
    p = NegativeMultinomial(LOG_RATES, torch.tensor(alpha, dtype=torch.float64))
    _check_moments(p.sample((40_000,)).numpy(), rates, rates[:, :, None] * (np.eye(3) + alpha * rates[:, None, :]))


def _check_moments(drawn: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> None:
    """Compare means and covariances of draws ``[N, B, D]`` within 5 standard errors."""
    off = drawn - mean
    products = off[..., :, None] * off[..., None, :]
    for terms, expected in ((off, np.zeros_like(mean)), (products, covariance)):
        assert (np.abs(terms.mean(0) - expected) <= 5 * terms.std(0) / np.sqrt(len(drawn)) + 1e-12).all()


def test_float32_gradients_of_large_counts_are_finite() -> None:
    log_rates = torch.tensor([-80.0, 0.0, 30.0]).requires_grad_()
    for p in (NegativeMultinomial(log_rates, torch.tensor(1.0)), Multinomial(log_rates, torch.tensor(9346.0))):
        log_prob = p.log_prob(torch.tensor([1.0, 0.0, 9345.0]))
        assert log_prob.isfinite() and torch.autograd.grad(log_prob, log_rates)[0].isfinite().all()
