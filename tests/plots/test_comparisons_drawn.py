"""Plots of comparisons: dots, lines and intervals are the table's numbers."""

from evaluations import evaluation_of, lognormal
import numpy as np
import pytest

from inference import compare, compare_recipes, plot_comparison
from inference.drawing import colors_of

SCORES = {
    "best": evaluation_of(lognormal(200, seed=1)),
    "next": evaluation_of(lognormal(200, seed=2, shift=-0.2)),
    "bound": evaluation_of(lognormal(1, seed=3, shift=-1.0)),
}


def drawn(axes):
    """The ends of lines and the places of dots, by row: error, interval, dot."""
    rows = {}
    for line in axes.lines:
        if len(set(line.get_ydata())) == 1:
            rows.setdefault(line.get_ydata()[0], []).append((line.get_xdata().tolist(), line.get_markerfacecolor()))
    return [rows[place] for place in sorted(rows)]


@pytest.mark.parametrize("table", [compare(SCORES), SCORES])
def test_every_row_has_its_difference_its_error_and_its_interval(table):
    axes, expected = plot_comparison(table), compare(SCORES)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(expected.index) == ["best", "next", "bound"]
    assert axes.yaxis_inverted()
    for row, (name, figures) in zip(drawn(axes), expected.iterrows(), strict=True):
        mean, error = figures["difference"], figures["difference_se"]
        np.testing.assert_allclose(row[0][0], [mean - error, mean + error])
        np.testing.assert_allclose(row[-1][0], [mean])
        assert (row[-1][1] == "white") == (name == "bound")
        if name != "best":
            np.testing.assert_allclose(row[1][0], expected.attrs["differences"][name].interval)
    assert "the best model's (nats per datum)" in axes.get_xlabel()


def test_recipes_and_yardsticks():
    axes = plot_comparison(compare_recipes({"a": [SCORES["best"], SCORES["next"]], "b": [SCORES["next"]]}))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "b"]
    ahead = plot_comparison(compare(SCORES, yardsticks={"best": "with 2 classes"}))
    assert ahead.get_xlabel() == "log p(x) minus that of next (nats per datum)"


def test_what_has_no_intervals_is_refused():
    with pytest.raises(ValueError, match="must be in nats; got one in bits/dim"):
        plot_comparison(compare(SCORES, unit="bits/dim"))
    with pytest.raises(TypeError, match="what compare\\(...\\) returns, or a dict of evaluations by name; got DataFrame"):
        plot_comparison(compare(SCORES).head(2))


def test_many_models_have_many_colors():
    assert all(len(set(colors_of(dict.fromkeys(range(count))))) == count for count in (1, 7, 8, 20))


def test_stars_mark_what_cannot_be_trusted():
    heavy = SCORES | {"heavy": evaluation_of(lognormal(200, seed=4, scale=6.0))}
    axes = plot_comparison(heavy)
    assert heavy["heavy"].bad_k_share > 0.5 and "heavy *" in [tick.get_text() for tick in axes.get_yticklabels()]
    assert "*: unreliable for most data, by k-hat" in axes.get_title("left")
    assert "*" not in plot_comparison(SCORES).get_title("left")
