"""Records in notebooks: the tables that they show have the digits that they print, escaped, and no colors of their own."""

from dataclasses import fields
from math import nan
import re

from evaluations import evaluation_of, lognormal
import numpy as np
from pages import Page
import pandas as pd
import pytest
import torch

from inference import (
    BidirectionalBounds,
    Calibration,
    ConditionalScore,
    Diagnosis,
    GradientNoise,
    LabelPosterior,
    SampleQuality,
    compare,
    compare_recipes,
)
from inference.diagnostics.diagnosis import FIGURES

NAME = "<b>vamp</b> & co"
HEADS = {"note", "finding", "objective", "group"}  # of columns that have none in print
GENERATOR = torch.Generator().manual_seed(0)


def diagnosis():
    rest = {field.name: 3 for field in fields(Diagnosis) if field.name not in FIGURES}
    return Diagnosis(
        **{name: 0.0123456 * number for number, name in enumerate(FIGURES)},
        **rest
        | {
            "levels": {"rate[z<1>]": 0.5},
            "standard_errors": dict.fromkeys((*FIGURES, "rate[z<1>]"), 0.00234),
            "notes": dict.fromkeys((*FIGURES, "rate[z<1>]"), "mean of log q(z|x) - log p(z) & more, 95% < 1"),
            "collapsed": {"z": (4, 7), "y": ()},
        },
    )


def calibration():
    ranks = torch.randint(0, 10, (40, 3), generator=GENERATOR)
    names = ("z[0]", "log p(x|z)", "log p(x, z)")
    return Calibration(names, ranks, (ranks + 0.5) / 10, torch.rand(3, 3, generator=GENERATOR) ** 9, ("c",), 9, 0.05, 0)


def noise():
    index = pd.MultiIndex.from_product([["elbo", "<iwae>"], ["model", "guide"]], names=["objective", "group"])
    names = [f"{name}{end}" for name in ("norm", "variance_draws", "variance_batches", "snr_draws", "snr") for end in ("", "_se")]
    columns = ["parameters", *names, "floor_norm", "floor_draws", "floor"]
    values = np.random.default_rng(0).uniform(0.1, 1, (4, len(columns)))
    return GradientNoise(pd.DataFrame(values, index=index, columns=columns), 20, 10, 40, 0)


def records():
    estimate, bound = evaluation_of(lognormal(200)), evaluation_of(lognormal(1, shift=-1.0))
    lower = torch.rand(30, generator=GENERATOR).double()
    halves = torch.rand(10, 2, 5, generator=GENERATOR).double()
    return {
        "estimate": estimate,
        "bound": bound,
        "exact": evaluation_of(lognormal(1), is_bound=False),
        "few draws": evaluation_of(lognormal(7)),
        "comparison": compare({NAME: estimate, "bound": bound, "few": evaluation_of(lognormal(20, shift=-2.0))}),
        "recipes": compare_recipes({NAME: [estimate, evaluation_of(lognormal(200, seed=1))], "b": [estimate]}),
        "diagnosis": diagnosis(),
        "calibration": calibration(),
        "noise": noise(),
        "bounds": BidirectionalBounds(lower, lower + 0.3, (), "a", 16, 50, 0, "the guide"),
        "conditional": ConditionalScore(estimate, bound),
        "labels": LabelPosterior(torch.full((4, 2), 0.5), torch.full((4, 2), 0.01), torch.full((4,), nan), 10, 0),
        "quality": SampleQuality(halves[0, 0], halves, 100, 90, 5, "pixels <8 x 8>", 0),
    }


every_record = pytest.mark.parametrize("record", records().values(), ids=records())


def words(text):
    """The words of a text, without what only the layout needs."""
    plain = text.replace("\u00a0", " ").replace("\u2011", "-")
    return {word.rstrip(":").lower() for word in plain.split()} - {""}


@every_record
def test_a_notebook_shows_what_is_printed(record):
    page = Page(record._repr_html_())
    shown, printed = words(" ".join([*page.text, *(cell for rows in page.tables for row in rows for cell in row)])), words(repr(record))
    assert printed <= shown, printed - shown
    assert shown - HEADS <= printed, shown - printed
    assert len(page.tables) == 1 and len({len(row) for row in page.tables[0]}) == 1


@every_record
def test_tables_are_escaped_and_have_no_colors(record):
    html = record._repr_html_()
    assert set(re.findall(r"</?(\w+)", html)) <= {"table", "thead", "tbody", "tr", "th", "td", "p"}
    assert set(re.findall(r'style="([^"]*)"', html)) <= {"text-align: left"} and "class=" not in html


def test_cells_are_in_their_places():
    table = Page(records()["comparison"]._repr_html_()).tables[0]
    formatted = records()["comparison"].formatted()
    assert table[0] == ["", *formatted.columns] and [row[0] for row in table[1:]] == list(formatted.index) and NAME in formatted.index
    assert [row[1:] for row in table[1:]] == formatted.to_numpy().tolist()
    table = Page(noise()._repr_html_()).tables[0]
    assert table[0][:3] == ["objective", "group", "parameters"] and [row[:2] for row in table[1:3]] == [
        ["elbo", "model"],
        ["elbo", "guide"],
    ]
    rows = dict(Page(records()["estimate"]._repr_html_()).tables[0])
    assert rows["log p(x)"].endswith("nats per datum (mass)") and "95% interval of the mean in the population" in rows
