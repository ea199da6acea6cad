"""Batch and match: the update, and what it converges to."""

import pytest
import torch

from inference.scoring.proposals.matching import matched, matched_pairs, matched_together
from inference.scoring.proposals.normal import DiagonalNormal, FullNormal, log_density


def full(loc, covariance):
    return FullNormal(loc, covariance, torch.linalg.cholesky(covariance))


def random_covariance(rows, dim):
    root = torch.randn(rows, dim, dim, dtype=torch.float64)
    return root @ root.mT / dim + 0.1 * torch.eye(dim, dtype=torch.float64)


@pytest.mark.parametrize(("dim", "count"), [(1, 8), (3, 8), (12, 8), (12, 30)])
def test_the_update_solves_the_equations_of_the_paper(dim, count):
    torch.manual_seed(0)
    rows, rate = 4, 1.7
    normal = full(torch.randn(rows, dim, dtype=torch.float64), random_covariance(rows, dim))
    draws = torch.randn(count, rows, dim, dtype=torch.float64)
    scores = torch.randn(count, rows, dim, dtype=torch.float64)
    got = matched(normal, draws, scores, rate)
    share = rate / (1 + rate)
    for r in range(rows):
        z, g, m, S = draws[:, r], scores[:, r], normal.loc[r], normal.covariance[r]
        C, G = torch.cov(z.T, correction=0).reshape(dim, dim), torch.cov(g.T, correction=0).reshape(dim, dim)
        U = rate * G + share * torch.outer(g.mean(0), g.mean(0))
        V = S + rate * C + share * torch.outer(m - z.mean(0), m - z.mean(0))
        new = got.covariance[r]
        torch.testing.assert_close(new @ U @ new + new, V, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(got.loc[r], m / (1 + rate) + share * (new @ g.mean(0) + z.mean(0)))
        torch.testing.assert_close(got.scale_tril[r] @ got.scale_tril[r].T, new)


@pytest.mark.parametrize("dim", [1, 4, 15])
def test_a_normal_density_is_found_exactly_and_then_left_unchanged(dim):
    torch.manual_seed(1)
    loc, covariance = torch.randn(3, dim, dtype=torch.float64), random_covariance(3, dim)
    normal = DiagonalNormal(loc + 3, torch.full_like(loc, 0.2)).full()
    for step in range(60):
        draws = normal.loc + normal.colored(torch.randn(dim + 8, 3, dim, dtype=torch.float64))
        scores = -torch.linalg.solve(covariance, (draws - loc).permute(1, 2, 0)).permute(2, 0, 1)
        normal = matched(normal, draws, scores, 16.0 * dim / (step + 1))
    torch.testing.assert_close(normal.loc, loc, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(normal.covariance, covariance, rtol=1e-6, atol=1e-6)
    exact = full(loc, covariance)
    draws = loc + exact.colored(torch.randn(5, 3, dim, dtype=torch.float64))
    scores = -torch.linalg.solve(covariance, (draws - loc).permute(1, 2, 0)).permute(2, 0, 1)
    torch.testing.assert_close(matched(exact, draws, scores, 2.0).covariance, covariance, rtol=1e-9, atol=1e-9)


def test_scores_that_are_not_finite_change_nothing():
    normal = DiagonalNormal(torch.zeros(2, 3).double(), torch.ones(2, 3).double()).full()
    draws, scores = torch.randn(4, 2, 3).double(), torch.randn(4, 2, 3).double()
    scores[0, 1, 0] = torch.nan
    got = matched(normal, draws, scores, 1.0)
    assert (got.loc != normal.loc).any(1).all()  # by the other draws
    draws[0, 1] += 5.0
    torch.testing.assert_close(matched(normal, draws, scores, 1.0).loc, got.loc)
    scores[:, 1] = torch.nan
    got = matched(normal, draws, scores, 1.0)
    assert not torch.equal(got.loc[0], normal.loc[0])
    assert torch.equal(got.loc[1], normal.loc[1])
    assert torch.equal(got.covariance[1], normal.covariance[1])


def test_densities_are_those_of_torch():
    torch.manual_seed(2)
    loc, covariance = torch.randn(3, 5).double(), random_covariance(3, 5)
    value = torch.randn(7, 3, 5).double()
    expected = torch.distributions.MultivariateNormal(loc, covariance).log_prob(value)
    torch.testing.assert_close(log_density(full(loc, covariance), value), expected)
    independent = torch.distributions.Normal(loc, loc.exp()).log_prob(value).sum(2)
    torch.testing.assert_close(log_density(DiagonalNormal(loc, loc.exp()), value), independent)
    torch.testing.assert_close(log_density(DiagonalNormal(loc, loc.exp()).full(), value), independent)


def test_pairs_of_draws_keep_terms_of_even_order_out_of_the_curvature():
    torch.manual_seed(2)
    normal = DiagonalNormal(torch.zeros(2, 3).double(), torch.ones(2, 3).double()).full()
    noise = torch.randn(1, 40, 2, 3).double()
    draws = torch.cat([noise, -noise], dim=1)
    scores = -2 * draws + 0.8 * draws.square()  # the second term's mean moves the mean
    pairs, together = matched_pairs(normal, draws, scores), matched_together(normal, draws[0], scores[0])
    torch.testing.assert_close(pairs.covariance, torch.eye(3).double().expand(2, 3, 3) / 2, rtol=0, atol=1e-4)
    torch.testing.assert_close(pairs.loc, scores.mean((0, 1)) / 2, rtol=0, atol=1e-4)
    assert (together.covariance.diagonal(dim1=1, dim2=2) < 0.47).all()


def test_draws_without_scores_count_for_nothing_among_many():
    torch.manual_seed(3)
    normal = DiagonalNormal(torch.zeros(2, 3).double(), torch.ones(2, 3).double()).full()
    noise = torch.randn(2, 20, 2, 3).double()
    draws = torch.cat([noise, -noise], dim=1)
    scores = -4 * (draws - 1)
    scores[1, 3, 0, 2], scores[0, 22, 1, 0] = torch.nan, torch.inf
    for got in (matched_pairs(normal, draws, scores), matched_together(normal, draws.flatten(0, 1), scores.flatten(0, 1))):
        torch.testing.assert_close(got.covariance, torch.eye(3).double().expand(2, 3, 3) / 4, rtol=0, atol=1e-4)
        torch.testing.assert_close(got.loc, torch.ones(2, 3).double(), rtol=0, atol=1e-4)
