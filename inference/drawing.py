"""Style shared by all pictures, and the one way in which they are written."""

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from inference.files import replacing_file

# Okabe and Ito's colors, which can be told apart with any color vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DPI = 150
_PIXELS_PER_INCH = 100  # on the screen, of a notebook


class ShownAxes(Axes):
    """Axes that show their figure where they are the last value of a notebook's cell; pyplot, which would do so, is not involved."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return _shown(figure_of(self))


class ShownFigure(Figure):
    """A figure that shows itself in a notebook, as :class:`ShownAxes` do."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return _shown(self)


def _shown(figure: Figure) -> tuple[bytes, dict[str, int]]:
    """A PNG picture and its size on the screen, in the form that notebooks take."""
    content = BytesIO()
    figure.savefig(content, format="png")
    width, height = figure.get_size_inches()
    return content.getvalue(), {"width": round(_PIXELS_PER_INCH * width), "height": round(_PIXELS_PER_INCH * height)}


def new_axes(width: float = 6.4, height: float = 4.0) -> Axes:
    """Axes of a figure of their own, of a size in inches."""
    figure = ShownFigure(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure.add_subplot(axes_class=ShownAxes)


def figure_of(axes: Axes) -> Figure:
    """The figure that axes are in."""
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("axes must be in a figure; got axes that were removed from theirs. Make new ones.")
    return figure


def label(axes: Axes, xlabel: str, ylabel: str) -> Axes:
    """Give axes their labels, a grid of horizontal lines, and no frame."""
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def make_axes(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """A figure of the standard size, and its axes without a frame."""
    axes = label(new_axes(), xlabel, ylabel)
    return figure_of(axes), axes


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a PNG file.

    Raises:
        OSError: If the file cannot be written.
    """
    with replacing_file(path) as temporary:
        figure.savefig(temporary)


def save_axes(axes: Axes, path: Path, *, title: str | None = None) -> None:
    """Write the figure of axes to a PNG file, as :func:`save` does, with a title if one is given."""
    if title is not None:
        axes.set_title(title, loc="left", fontsize="medium")
    save(figure_of(axes), path)


def label_width(names: Iterable[str]) -> float:
    """Inches that names need beside a picture; names of runs may be long paths."""
    return max(1.2, 0.3 + 0.095 * max(map(len, names)))


def colors_of(names: Mapping[str, object]) -> list[str]:
    """A color for each model, the same in every picture of the same models."""
    colors = COLORS if len(names) <= len(COLORS) else [to_hex(color) for color in colormaps["tab20"](range(20))]
    return [colors[i % len(colors)] for i in range(len(names))]
