"""Estimates for deep decoders lie between bounds from both sides, whatever the guide."""

import pytest

from known.deep import GUIDES, deep
from known.estimators import ESTIMATORS


def mean_and_error(values):
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


@pytest.mark.parametrize("num_latents", [2, 8])
def test_bounds_are_close(num_latents):
    bounds = deep(num_latents, "prior").bounds
    assert abs(bounds.gap) < 4 * bounds.gap_error + 0.02 and bounds.gap_error < 0.1


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("num_latents", [2, 8])
def test_refined_estimates_lie_between_them(num_latents, guide):
    pair, bounds = (known := deep(num_latents, guide)).pair, known.bounds
    score = ESTIMATORS["auto"](pair, bounds.data, 0)
    for gap in (bounds.upper - score.log_px, score.log_px - bounds.lower):
        mean, error = mean_and_error(gap)
        assert mean > -4 * error
        assert mean < 0.1 + 4 * error
    assert score.bad_k_share < 0.2


@pytest.mark.parametrize("guide", ["narrow", "off"])
def test_those_of_bad_guides_do_not_and_are_marked(guide):
    known = deep(8, guide)
    score = ESTIMATORS["guide"](known.pair, known.bounds.data, 0)
    assert float((known.bounds.lower - score.log_px).mean()) > 1
    assert score.bad_k_share > 0.9
