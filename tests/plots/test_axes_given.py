"""What all plots keep: axes in, axes out, no pyplot, and nothing else is changed."""

import sys

from evaluations import evaluation_of, lognormal
import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import pandas as pd
from posteriors import normal_pair, standard
import pytest
import torch

from inference import compare, plot_codes, plot_comparison, plot_curve, plot_history, plot_samples

SCORES = {name: evaluation_of(lognormal(40, seed=seed)) for seed, name in enumerate("ab")}
X = 0.1 + torch.rand(50, 4, generator=torch.Generator().manual_seed(0)).double()
PLOTS = {
    "codes": lambda **given: plot_codes(normal_pair(standard(2)), X, num_codes=100, **given),
    "samples": lambda **given: plot_samples({"data": X[:3].repeat(1, 16)}, **given),
    "comparison": lambda **given: plot_comparison(compare(SCORES), **given),
    "curve": lambda **given: plot_curve(SCORES, **given),
    "history": lambda **given: plot_history(pd.DataFrame({"epoch": [1, 2], "train_loss": [2.0, 1.0]}), **given),
}
every_plot = pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)


@pytest.fixture(autouse=True)
def no_pyplot(monkeypatch):
    """An import of pyplot fails."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)


def style():
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}


@every_plot
def test_axes_given_are_returned_and_others_are_left_alone(plot):
    figure = Figure(figsize=(5, 3))
    left, right = figure.subplots(1, 2)
    size, position, children = figure.get_size_inches().tolist(), right.get_position().bounds, len(right.get_children())
    settings, noise = style(), torch.get_rng_state()
    assert plot(ax=left) is left
    assert torch.equal(torch.get_rng_state(), noise)
    assert figure.axes == [left, right] and not figure.legends and not figure.texts
    assert (figure.get_size_inches().tolist(), right.get_position().bounds, len(right.get_children())) == (size, position, children)
    assert style() == settings
    FigureCanvasAgg(figure).draw()


@every_plot
def test_axes_of_their_own_show_themselves(plot):
    axes = plot()
    for shown in (axes, axes.figure):
        picture, size = shown._repr_png_()
        assert picture[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = (int.from_bytes(picture[start : start + 4], "big") for start in (16, 20))
        assert (width, height) == pytest.approx((1.5 * size["width"], 1.5 * size["height"]), abs=2)
    assert plot() is not axes and plot().figure is not axes.figure
