"""Comparisons of recipes by several fits of each: the scatter over data and that over fits."""

from math import isnan

from evaluations import evaluation_of
import numpy as np
import pytest
import torch

from inference.comparison.recipes import compare_recipes, difference_of

RNG = np.random.default_rng(0)


def fits(mean, count, *, size=60, fit_sd=0.3, noise=0.5, common=None, rng=RNG):
    common = np.zeros(size) if common is None else common
    values = mean + fit_sd * rng.normal(size=(count, 1)) + noise * rng.normal(size=(count, size)) + common
    return [evaluation_of(torch.from_numpy(row)[None], is_bound=False) for row in values]


def test_both_kinds_of_scatter_are_in_the_error():
    ours, others = fits(1.0, 3), fits(0.0, 4)
    table = compare_recipes({"others": others, "ours": ours})
    assert table.index.tolist() == ["ours", "others"]
    mine, theirs = (np.stack([score.log_px.numpy() for score in scores]) for scores in (ours, others))
    row = table.loc["others"]
    assert row["log_px"] == pytest.approx(theirs.mean())
    assert row["fits"] == 4
    assert row["fit_sd"] == pytest.approx(theirs.mean(1).std(ddof=1))
    gaps = theirs.mean(0) - mine.mean(0)
    assert row["difference"] == pytest.approx(gaps.mean())
    assert row["data_se"] == pytest.approx(gaps.std(ddof=1) / 60**0.5)
    over_fits = (theirs.mean(1).var(ddof=1) / 4 + mine.mean(1).var(ddof=1) / 3) ** 0.5
    assert row["fits_se"] == pytest.approx(over_fits)
    assert row["difference_se"] == pytest.approx(np.hypot(over_fits, row["data_se"]))
    assert "others" in repr(table) and "scatter of both" in repr(table)


def test_intervals_of_differences_of_recipes_hold():
    rng, inside = np.random.default_rng(1), 0
    for _ in range(1000):
        common = 2 * rng.normal(size=50)
        gap = difference_of(fits(0.4, 3, size=50, common=common, rng=rng), fits(0.0, 3, size=50, common=common, rng=rng))
        inside += gap.interval.lower < 0.4 < gap.interval.upper
    assert 0.93 < inside / 1000 < 0.99


def test_the_error_over_data_alone_would_not_hold():
    rng, inside = np.random.default_rng(2), 0
    for _ in range(300):
        gap = difference_of(fits(0.0, 3, rng=rng), fits(0.0, 3, rng=rng))
        inside += abs(gap.mean) < 2 * gap.data_error
    assert inside / 300 < 0.7


def test_one_fit_says_nothing_of_others():
    table = compare_recipes({"one": fits(5.0, 1), "three": fits(0.0, 3)})
    assert isnan(table.loc["three", "difference_se"]) and isnan(table.loc["three", "upper"])
    assert any(note.startswith("one: one fit") for note in table.notes)
    with pytest.raises(ValueError, match="'none' has none"):
        compare_recipes({"one": fits(5.0, 1), "none": []})
    with pytest.raises(ValueError, match="same"):
        compare_recipes({"one": fits(5.0, 1), "other": fits(0.0, 1, size=50)})
