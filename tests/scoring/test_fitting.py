"""Fits of normal distributions to posteriors, from few draws or many."""

import pytest
import torch

from inference.scoring.proposals.fitting import Spread, first_update, fit_again, fit_all
from inference.scoring.proposals.normal import DiagonalNormal

ROWS = 6


class Posterior:
    """Log density and gradients of N(loc, covariance), which differ from datum to datum; the batch holds the data's numbers."""

    def __init__(self, dim):
        torch.manual_seed(dim)
        root = torch.randn(ROWS, dim, dim, dtype=torch.float64)
        self.covariance = root @ root.mT / dim + 0.05 * torch.eye(dim)
        self.loc, self.calls = torch.randn(ROWS, dim, dtype=torch.float64), []

    @property
    def batch(self):
        return (torch.arange(ROWS),)

    def start(self):
        return DiagonalNormal(self.loc + 4, torch.full_like(self.loc, 0.2)).full()

    def __call__(self, batch, vector):
        (rows,) = batch
        self.calls.append(vector.shape[:2])
        deviation = vector - self.loc[rows]
        slope = torch.linalg.solve(self.covariance[rows], deviation.permute(1, 2, 0)).permute(2, 0, 1)
        gradient = -slope
        log_p = -0.5 * (deviation * slope).sum(2) - 0.5 * torch.logdet(2 * torch.pi * self.covariance)[rows]
        return log_p, gradient


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dim", [1, 3, 12])
def test_normal_posteriors_are_found_exactly_or_it_is_known_that_they_are_not(dim):
    p = Posterior(dim)
    started = first_update(p, p.batch, p.start(), generator())
    fit = fit_all(p, p.batch, started, generator(1))
    off = (fit.normal.covariance - p.covariance).abs().amax((1, 2)) + (fit.normal.loc - p.loc).abs().amax(1)
    assert ((off < 0.01) | ~fit.has_converged).all()
    assert fit.has_converged.double().mean() > 0.5
    converged = fit.pilot.estimate[fit.has_converged]
    torch.testing.assert_close(converged, torch.zeros_like(converged), rtol=0, atol=0.05)


@pytest.mark.parametrize("dim", [2, 15, 60])
@pytest.mark.parametrize("needs_all_rows", [True, False])
def test_another_fit_finds_them_from_far_off_in_any_number_of_dimensions(dim, needs_all_rows):
    p = Posterior(dim)
    rows = torch.arange(ROWS) if needs_all_rows else torch.tensor([4, 1])
    fit = fit_again(p, p.batch, rows, p.start().rows(rows), generator(), needs_all_rows=needs_all_rows)
    torch.testing.assert_close(fit.normal.loc, p.loc[rows], rtol=0, atol=0.02)
    torch.testing.assert_close(fit.normal.covariance, p.covariance[rows], rtol=0, atol=0.02)
    assert fit.has_converged.all()
    assert len(set(p.calls)) == 1 or needs_all_rows  # one shape, which may be compiled


def test_draws_without_a_gradient_count_for_nothing():
    p = Posterior(3)

    def scores(batch, vector):
        log_p, gradient = p(batch, vector)
        gone = torch.rand(log_p.shape, generator=numbers) < 0.1
        return log_p.masked_fill(gone, -torch.inf), gradient.masked_fill(gone[..., None], torch.nan)

    numbers = generator(3)
    fit = fit_again(scores, p.batch, torch.arange(ROWS), p.start(), generator(), needs_all_rows=False)
    torch.testing.assert_close(fit.normal.covariance, p.covariance, rtol=0, atol=0.05)
    torch.testing.assert_close(fit.normal.loc, p.loc, rtol=0, atol=0.05)


@pytest.mark.parametrize("rows", [[3], [0, 5], [1, 2, 3, 4], [0, 1, 2, 3, 4, 5]])
def test_many_draws_of_few_data_are_those_of_the_data(rows):
    p, rows = Posterior(2), torch.tensor(rows)
    spread = Spread(p, p.batch, rows, ROWS // len(rows), 8)
    vector = torch.randn(spread.num_draws, len(rows), 2, dtype=torch.float64)
    got, expected = spread(p.batch, vector), p((rows,), vector)
    assert p.calls[0] == (8, ROWS)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)
