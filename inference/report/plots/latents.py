"""Planes of codes of several models side by side."""

from collections.abc import Mapping
from math import ceil
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inference.drawing import DPI, save
from inference.plots.planes import plot_codes
from pyro_lvm.pair import Batch


def draw_codes(models: Mapping[str, tuple[object, Batch]], path: Path) -> None:
    """Draw a plane of codes for each model, with one legend.

    Args:
        models: Pairs with continuous latents and their data, by name.
        path: File to write.
    """
    columns = 2 if len(models) == 4 else min(3, len(models))
    rows = ceil(len(models) / columns)
    figure = Figure(figsize=(3.2 * columns, 3.2 * rows + 0.5), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(models) :]:
        axes.set_visible(False)
    handles: dict[str, Artist] = {}
    for (name, (pair, batch)), axes in zip(models.items(), panels, strict=False):
        handles |= _taken_handles(plot_codes(pair, *batch, ax=axes))
        axes.set_title(name, loc="left", fontsize="medium")
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=min(2, columns), frameon=False, fontsize="small")
    save(figure, path)


def _taken_handles(axes: Axes) -> dict[str, Artist]:
    """Take the legend off axes and return its handles by label."""
    legend = axes.get_legend()
    if legend is None:
        return {}
    legend.remove()
    labeled = zip(legend.get_texts(), legend.legend_handles, strict=True)
    return {text.get_text(): handle for text, handle in labeled if handle is not None}
