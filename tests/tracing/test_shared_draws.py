"""Draws for some rows of a batch: those that these rows have among the draws for all."""

import pyro.distributions as dist
import pytest
import torch
from torch.nn import functional as F

from inference.tracing.draws import DrawsOfRows, RecordedDraws

X = torch.randn(11, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
ROWS = slice(3, 8)
STEADY = {
    "normal": lambda x: dist.Normal(x, 2.0).rsample(),
    "laplace": lambda x: dist.Laplace(x, 1.0).rsample(),
    "relaxed": lambda x: dist.RelaxedOneHotCategorical(x.new_tensor(0.5), logits=x).rsample(),
    "bernoulli": lambda x: dist.Bernoulli(logits=x).sample(),
    "classes": lambda x: dist.Categorical(logits=x).sample(),
    "grid of classes": lambda x: dist.Categorical(logits=x[:, None].expand(-1, 3, -1)).sample(),
    "dropout": lambda x: F.dropout(x, 0.5),
    "uniform": lambda x: torch.rand(x.shape, dtype=x.dtype),
    "in place": lambda x: torch.empty_like(x).exponential_(),
    "single numbers": lambda x: torch.randn(len(x)),
}
REFUSED = {
    "gamma": (lambda x: dist.Gamma(x.exp(), 1.0).rsample(), "'_standard_gamma' takes for a row depends on its values"),
    "two dimensions": (lambda x: torch.randn(len(x), len(x)), "a draw of shape"),
    "another number": (lambda x: [torch.rand(1) for _ in x], "draw otherwise for 11 rows"),
}


def recorded(function, x):
    with torch.random.fork_rng(), RecordedDraws(torch.default_generator) as draws:
        return function(x), draws.found


def of_rows(function):
    (_, whole), (_, own) = recorded(function, X), recorded(function, X[ROWS])
    with DrawsOfRows(whole, own, ROWS, len(X)):
        return function(X[ROWS])


@pytest.mark.parametrize("name", STEADY)
def test_rows_draw_what_they_have_in_the_whole_batch(name):
    torch.manual_seed(0)
    expected = STEADY[name](X)[ROWS]
    after = torch.get_rng_state()
    torch.manual_seed(0)
    torch.testing.assert_close(of_rows(STEADY[name]), expected, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), after)


def test_what_is_drawn_once_for_all_rows_is_drawn_as_it_is():
    torch.manual_seed(0)
    expected = torch.rand(5)
    torch.manual_seed(0)
    torch.testing.assert_close(of_rows(lambda x: torch.rand(5)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", REFUSED)
def test_draws_that_cannot_be_divided_are_refused(name):
    function, reason = REFUSED[name]
    with pytest.raises(ValueError, match=reason):
        of_rows(function)


def test_a_step_that_draws_more_than_before_is_refused():
    _, whole = recorded(torch.rand_like, X)
    _, own = recorded(torch.rand_like, X[ROWS])
    with DrawsOfRows(whole, own, ROWS, len(X)), pytest.raises(ValueError, match="same draws in every step"):
        torch.rand_like(X[ROWS]), torch.rand_like(X[ROWS])
