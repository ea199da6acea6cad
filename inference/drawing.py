"""Style shared by all pictures, and the one way in which they are written."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from inference.files import replacing_file

# Okabe and Ito's colors, which can be told apart with any color vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DPI = 150


def make_axes(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """A figure of the standard size, and its axes without a frame."""
    figure = Figure(figsize=(6.4, 4.0), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a PNG file.

    Raises:
        OSError: If the file cannot be written.
    """
    with replacing_file(path) as temporary:
        figure.savefig(temporary)


def label_width(names: Iterable[str]) -> float:
    """Inches that names need beside a picture; names of runs may be long paths."""
    return max(1.2, 0.3 + 0.095 * max(map(len, names)))


def colors_of(names: Mapping[str, object]) -> list[str]:
    """A color for each model, the same in every picture of the same models."""
    colors = COLORS if len(names) <= len(COLORS) else [to_hex(color) for color in colormaps["tab20"](range(20))]
    return [colors[i % len(colors)] for i in range(len(names))]
