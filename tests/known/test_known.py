"""Every estimator against every likelihood that is known: right within its interval, or marked."""

from functools import cache
import re

import pytest

from known.entries import ALL, HARMLESS
from known.estimators import ESTIMATORS
from known.registry import RIGHT
from known.verdicts import judge

OTHERS = [name for name in ESTIMATORS if name != "guide"]
CANNOT = "discrete|periodic|summed out"  # what has no unconstrained coordinates
SILENT = [  # equal weights, or weights whose tail was never drawn: draws from these guides cannot show what is missing
    "256 modes, one",
    "beta-binomial, uniform",
    "binary causes, blind to one",
    "box, most of it",
    "classes of factors, largest",
    "classes of factors, largest class drawn",
]


@cache
def verdict(estimator, name):
    known = ALL[name].known
    return judge(ESTIMATORS[estimator](known.pair, known.batch, 0), known)


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_guides_give_the_right_figure(name):
    found = verdict("guide", name)
    assert found.right.all(), found.off[~found.right]


@pytest.mark.parametrize("name", [name for name, entry in ALL.items() if entry.guide == "exact"])
def test_exact_guides_give_log_px_itself(name):
    off = verdict("guide", name).off
    assert off.abs().max() < (1e-4 if "vae" in name else 1e-6), off  # the VAE computes in float32


@pytest.mark.parametrize("name", SILENT)
def test_draws_of_the_guide_alone_do_not_show_what_it_misses(name):
    """So the bench can tell a trustworthy evaluator from another."""
    assert verdict("guide", name).silently_wrong.float().mean() > 0.5


@pytest.mark.parametrize("estimator", OTHERS)
@pytest.mark.parametrize("name", ALL)
def test_a_figure_is_right_or_marked_or_refused(name, estimator):
    entry = ALL[name]
    try:
        found = verdict(estimator, name)
    except ValueError as error:
        assert estimator != "auto"
        assert re.search(CANNOT, str(error))
        return
    assert found.silently_wrong.double().mean() <= entry.exceptions, found.off[found.silently_wrong]
    assert entry.must != RIGHT or found.right.all(), found.off[~found.right]
