"""k-hat against ArviZ and against weights of known tails."""

import arviz
import numpy as np
import pytest
import torch
from torch import Tensor

from inference.scoring.pareto import pareto_k, pareto_k_threshold, tail_length


def tails(num_particles: int) -> Tensor:
    """Columns from bounded weights to ones without a mean, with offsets, ties and zeros."""
    normal = torch.randn(num_particles, 40).double() * torch.logspace(-2, 1.5, 40).double()
    pareto = torch.empty(num_particles, 20).double().exponential_() * torch.linspace(0.1, 3, 20).double()
    bounded = torch.rand(num_particles, 10).double().log()
    tied = (2 * normal).round() / 2
    zero = torch.where(torch.rand(num_particles, 20) < 0.3, -torch.inf, pareto)
    return torch.cat([normal - 1e5, pareto + 700, bounded, tied, zero], dim=1)


HAS_PSISLW = "psislw" in vars(arviz)  # before version 1, which rounds the size of a tail down, and treats ties and few draws in its own way
SIZES = [5, 20, 21, 24, 25, 26, 99, 100, 225, 1000, 5000] if HAS_PSISLW else [100, 225, 400, 2500]


def arviz_k_hat(log_weights: np.ndarray) -> np.ndarray:
    """ArviZ's k-hat of each row, infinite if it has none; version 1 takes the negatives of log weights."""
    if HAS_PSISLW:
        return arviz.psislw(log_weights)[1]
    from arviz_stats.base import array_stats

    def of(row: np.ndarray) -> float:
        try:
            return float(array_stats.psislw(-row)[1])
        except ValueError:
            return np.inf

    return np.array([of(row) for row in log_weights])


@pytest.mark.parametrize("num_particles", SIZES)
def test_pareto_k_is_that_of_arviz(num_particles: int) -> None:
    torch.manual_seed(num_particles)
    log_weights = tails(num_particles) if HAS_PSISLW else tails(num_particles)[:, [*range(70), *range(110, 130)]]
    with np.errstate(all="ignore"):
        expected = arviz_k_hat(log_weights.T.numpy())
    k_hat = pareto_k(log_weights).numpy()
    np.testing.assert_array_equal(np.isnan(k_hat), np.isinf(expected))
    np.testing.assert_allclose(k_hat, np.where(np.isinf(expected), np.nan, expected), rtol=0, atol=1e-10)
    assert np.isfinite(k_hat).any() == (num_particles > 20)


def test_pareto_k_finds_the_shape_of_pareto_weights() -> None:
    torch.manual_seed(0)
    num_particles, num_data = 10_000, 200
    for k in (0.3, 0.7, 1.5):
        log_weights = k * torch.empty(num_particles, num_data).double().exponential_()
        size = tail_length(num_particles)
        expected = (size * k + 5) / (size + 10)
        k_hat = pareto_k(log_weights)
        # Zhang and Stephens' estimator is biased by order 1 / M
        assert abs(k_hat.mean() - expected) < 4 * k_hat.std() / num_data**0.5 + 2 / size
        assert k_hat.std() < 1.2 * (1 + k) / size**0.5


def test_columns_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    log_weights = tails(300)
    alone = torch.cat([pareto_k(column[:, None]) for column in log_weights.T])
    torch.testing.assert_close(pareto_k(log_weights), alone, rtol=0, atol=1e-12, equal_nan=True)


def test_nothing_is_fitted_without_a_tail() -> None:
    log_weights = torch.randn(1000, 4).double()
    log_weights[:, 0] = -3.0
    log_weights[4:, 1] = -torch.inf
    log_weights[:, 2] = -torch.inf
    assert pareto_k(log_weights).isnan().tolist() == [True, True, True, False]


def test_threshold() -> None:
    assert pareto_k_threshold(100) == pytest.approx(0.5)
    assert pareto_k_threshold(1000) == pytest.approx(2 / 3)
    assert pareto_k_threshold(10**6) == 0.7
    with pytest.raises(ValueError, match="at least 2; got 1"):
        pareto_k_threshold(1)


@pytest.mark.parametrize(
    ("log_weights", "message"),
    [
        (torch.zeros(30), r"shape \[K, B\].*\(30,\)"),
        (torch.zeros(30, 2, 2), r"shape \[K, B\].*\(30, 2, 2\)"),
        (torch.zeros(0, 3), "K >= 1"),
        (torch.zeros(30, 2, dtype=torch.int64), "int64"),
        (torch.tensor([[0.0, torch.nan]]).expand(30, 2), "1 of 2 data.*index 1"),
        (torch.tensor([[torch.inf, 0.0]]).expand(30, 2), "1 of 2 data.*index 0"),
    ],
)
def test_bad_log_weights_are_refused(log_weights: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pareto_k(log_weights)
