"""Plots of comparisons: differences in log p(x), with their errors."""

from collections.abc import Mapping

from matplotlib.axes import Axes
import pandas as pd

from inference.comparison.table import Comparison, compare
from inference.drawing import COLORS, label, label_width, new_axes
from inference.plots.marks import marked, with_note
from inference.scoring.evaluation import Evaluation

_TITLE = "Thick: one standard error; thin: 95% interval,\nbiases allowed for; hollow: a bound"


def plot_comparison(comparison: Comparison | Mapping[str, Evaluation], *, ax: Axes | None = None) -> Axes:
    """Plot each model's difference in log p(x) from the best one in nats per datum, with its standard error and its 95% interval.

    A dot is the mean difference, a thick line reaches one standard error to either side, and a thin one is the interval, which also allows
    for the biases of both estimates; a model whose interval includes zero cannot be told apart from the best one. A hollow dot is a bound,
    and a star marks models whose estimates k-hat calls unreliable for most data.

    Args:
        comparison: What :func:`~inference.comparison.table.compare` or :func:`~inference.comparison.recipes.compare_recipes` returns, in
            nats; or evaluations by name, to be compared.
        ax: Axes to draw on; by default, those of a new figure whose size follows from the number of models.

    Returns:
        The axes, with the models from top to bottom in the order of the comparison.

    Raises:
        TypeError: If something else is given; a frame that pandas derived from a comparison has lost its intervals.
        ValueError: If the comparison is in bits per dimension.

    Example::

        plot_comparison(compare({"standard": score, "vamp": other}))
    """
    table = comparison if isinstance(comparison, Comparison) else _compared(comparison)
    if "log_px" not in table:
        raise ValueError("comparison must be in nats; got one in bits/dim. Leave out unit, and give plot_comparison that.")
    bad_k = table["bad_k"] if "bad_k" in table else pd.Series(0.0, table.index)
    best = table.attrs.get("best", table.index[0])
    from_whom = "the best model's" if best == table.index[0] else f"that of {best}"  # a yardstick may be above it
    size = (5.2 + label_width(map(str, table.index)), 1.3 + 0.36 * len(table))
    axes = label(new_axes(*size) if ax is None else ax, f"log p(x) minus {from_whom} (nats per datum)", "")
    for place, name in enumerate(table.index):
        _draw_row(axes, table, place, name)
    axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(table)), [marked(name, share) for name, share in bad_k.items()])
    axes.yaxis.set_inverted(True)
    axes.margins(y=0.25 if len(table) < 3 else 0.1)
    axes.grid(axis="x", color="0.9", linewidth=0.8)
    axes.set_title(with_note(_TITLE, bad_k), loc="left", fontsize="medium")
    return axes


def _compared(evaluations: object) -> Comparison:
    if not isinstance(evaluations, Mapping):
        got = type(evaluations).__name__
        raise TypeError(f"comparison must be what compare(...) returns, or a dict of evaluations by name; got {got}. Call compare.")
    return compare(evaluations)


def _draw_row(axes: Axes, table: Comparison, place: int, name: str) -> None:
    difference, error = table.loc[name, "difference"], table.loc[name, "difference_se"]
    axes.plot([difference - error, difference + error], [place, place], color=COLORS[0], linewidth=4)
    if name in table.attrs["differences"]:
        axes.plot(table.attrs["differences"][name].interval, [place, place], color=COLORS[0], linewidth=1.2)
    face = "white" if name in table.attrs["bounds"] else COLORS[0]
    axes.plot([difference], [place], "o", color=COLORS[0], markerfacecolor=face, markersize=6)
