"""Intervals of paired differences, their coverage, and what is said of heavy tails."""

from math import inf, isnan

from evaluations import evaluation_of
import numpy as np
import pytest
from scipy import stats
import torch
from torch import Tensor

from inference.comparison.differences import Difference, heavy_tail, paired
from inference.comparison.table import compare
from inference.scoring.evaluation import Evaluation


def exact(values: Tensor) -> Evaluation:
    return evaluation_of(values[None], is_bound=False)


def estimated(values: Tensor, scale: float, *, num_particles: int = 100) -> Evaluation:
    """An estimate from log-normal weights of log p(x) = ``values``."""
    return evaluation_of(values + scale * torch.randn(num_particles, len(values)).double() - scale**2 / 2)


def test_the_interval_of_normal_differences_holds_as_often_as_it_says() -> None:
    """2000 repetitions; two standard errors instead of Student's t hold 93.9% of the time for 20 data."""
    torch.manual_seed(20)
    level = 5 * torch.randn(2000, 20).double()
    other = level + 0.3 + torch.randn(2000, 20).double()
    ends = [paired(exact(a), exact(b)).interval for a, b in zip(level, other, strict=True)]
    held = np.mean([low <= -0.3 <= high for low, high in ends])
    assert held == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 2000) ** 0.5)


def test_the_interval_is_that_of_scipy_for_exact_values() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(2, 12).double()
    gap = paired(exact(one), exact(other))
    low, high = stats.ttest_rel(one.numpy(), other.numpy()).confidence_interval(0.95)
    assert gap.interval == gap.scatter_interval == pytest.approx((low, high), rel=1e-12)
    assert gap.mean == pytest.approx(float((one - other).mean()), rel=1e-12) and isnan(gap.pareto_k)


def test_the_biases_of_both_estimates_extend_the_interval() -> None:
    torch.manual_seed(0)
    values = torch.randn(400).double()
    one, other = estimated(values, 1.0), estimated(values, 1.5)
    gap = paired(one, other)
    lower, upper = (one.draw_errors, other.draw_errors)[::-1]
    t = stats.t.ppf(0.975, 399)
    expected_lower = gap.mean + float(lower.bias) - t * np.hypot(gap.standard_error, float(lower.bias_error))
    expected_upper = gap.mean - float(upper.bias) + t * np.hypot(gap.standard_error, float(upper.bias_error))
    np.testing.assert_allclose(gap.interval, (expected_lower, expected_upper), rtol=1e-10)
    assert gap.interval.lower < gap.scatter_interval.lower < gap.scatter_interval.upper < gap.interval.upper


def test_bounds_and_infinite_differences() -> None:
    torch.manual_seed(0)
    values = torch.randn(30).double()
    bound = evaluation_of((values - 1)[None])
    gap = paired(bound, exact(values + 0.01 * torch.randn(30).double()))
    assert gap.is_clear and gap.interval == pytest.approx(gap.scatter_interval)
    impossible = values.clone()
    impossible[3] = -inf
    gap = paired(exact(impossible), exact(values))
    assert gap.mean == -inf and not gap.is_clear and heavy_tail(gap) == ""
    assert heavy_tail(paired(exact(values), exact(values))) == "" and not paired(exact(values), exact(values)).is_clear


def difference_of(values: Tensor) -> Difference:
    return paired(exact(values), exact(torch.zeros(len(values)).double()))


def test_a_heavy_tail_is_named_with_the_data_that_decide() -> None:
    torch.manual_seed(0)
    values = torch.randn(300).double()
    assert heavy_tail(difference_of(values)) == ""
    values[:3] = torch.tensor([-14.0, -12.0, 13.0])
    gap = difference_of(values)
    squares = (values - values.median()).square().sort(descending=True).values
    assert gap.num_deciding == 3 and squares[:3].sum() > squares.sum() / 2 > squares[:2].sum()
    assert gap.pareto_k > 0.5
    words = "3 of 300 data make up half of the scatter of the difference, and its tail has k-hat"
    assert heavy_tail(gap).startswith(f"{words} {gap.pareto_k:.2f}: ")
    few = torch.cat([torch.randn(29).double(), torch.tensor([9.0]).double()])
    assert heavy_tail(difference_of(few)) == "1 of 30 data make up half of the scatter of the difference: its error may be too small."
    assert heavy_tail(difference_of(few[-10:])) == ""


def test_tails_without_a_mean_are_told_from_those_without_a_variance() -> None:
    torch.manual_seed(0)
    exponential = torch.empty(2000).double().exponential_()
    for shape, doubt in ((0.62, "its error may be too small."), (1.2, "not even the mean can be relied on.")):
        gap = difference_of((shape * exponential).exp() * torch.randn(2000).sign().double())
        assert heavy_tail(gap).endswith(doubt)
        assert gap.pareto_k == pytest.approx(shape, abs=4 * (1 + shape) / 135**0.5)


def test_the_table_notes_heavy_tails() -> None:
    torch.manual_seed(0)
    values = torch.randn(50).double()
    other = values - 0.1 + 0.01 * torch.randn(50).double()
    other[0] -= 5
    notes = compare({"a": exact(values), "b": exact(other)}).notes
    assert "b and a: 1 of 50 data make up half of the scatter of the difference: its error may be too small." in notes


def test_normal_differences_raise_no_doubt() -> None:
    """A word on heavy tails would be wrong here: it may come in 1.3% of cases for 20 data, and 0.8% for 100."""
    torch.manual_seed(0)
    for size in (20, 100, 300):
        words = [heavy_tail(difference_of(values)) for values in torch.randn(500, size).double()]
        assert np.mean([bool(word) for word in words]) < 0.03
