"""A picture of gradients' noise: signal-to-noise ratios of objectives, by groups of parameters."""

from pathlib import Path

import pandas as pd

from inference.drawing import COLORS, label_width, make_axes, save


def draw_noise(table: pd.DataFrame, path: Path) -> None:
    """Draw the ratio over draws of every objective, one color for each group of parameters.

    Args:
        table: As in :class:`~inference.diagnostics.gradients.comparison.GradientNoise`.
        path: File to write.
    """
    objectives = list(dict.fromkeys(table.index.get_level_values("objective")))
    figure, axes = make_axes("signal-to-noise ratio of gradients over draws", "")
    figure.set_size_inches(5.2 + label_width(objectives), 1.6 + 0.45 * len(objectives))
    for color, (group, rows) in zip(COLORS, table.groupby(level="group", sort=False), strict=False):
        places = [objectives.index(name) for name in rows.index.get_level_values("objective")]
        axes.errorbar(rows["snr_draws"], places, xerr=2 * rows["snr_draws_se"], fmt="o", color=color, markersize=5, label=group)
        axes.plot(rows["floor_draws"], places, "|", color=color, markersize=12)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(objectives)), objectives)
    axes.invert_yaxis()
    axes.margins(y=0.2)
    axes.grid(axis="x", color="0.9", linewidth=0.8)
    axes.set_title(
        "Mean of |mean| / standard deviation; bars: two standard errors;\nticks: if the mean were zero", loc="left", fontsize="medium"
    )
    figure.legend(loc="outside right upper", frameon=False)
    save(figure, path)
