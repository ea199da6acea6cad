"""A picture of a calibration: distribution functions of positions minus that of uniform ones."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from inference.diagnostics.calibration.uniformity import band
from inference.drawing import COLORS, label_width, make_axes, save

_TITLE = (
    "Gray: where the ranks under an exact guide stay, but for a share of {level:.2g}. Of latents: rising\n"
    "in the middle where the guide is too wide, falling where too narrow, above or below where shifted"
)


def draw_calibration(positions: np.ndarray, names: Sequence[str], found: Collection[str], level: float, path: Path) -> None:
    """Draw the difference of each distribution function from a uniform one, in color where something is found, and a band.

    Args:
        positions: Positions in (0, 1), ``[N, Q]``.
        names: The Q quantities.
        found: Those in which something is found.
        level: Probability that uniform positions of one quantity leave the band.
        path: File to write.
    """
    size, limits = len(positions), band(len(positions), level)
    figure, axes = make_axes("rank of the truth among the guide's draws, as a share", "share of ranks below, minus that if uniform")
    figure.set_size_inches(6.4 + label_width(names), 4.0)
    points = np.concatenate([[0.0], limits.points, [1.0]])
    low, high = (np.concatenate([[0.0], counts / size - limits.points, [0.0]]) for counts in (limits.low, limits.high))
    axes.fill_between(points, low, high, color="0.9")
    colors = dict(zip((name for name in names if name in found), COLORS, strict=False))
    for name, column in zip(names, positions.T, strict=True):
        difference = np.searchsorted(np.sort(column), points) / size - points
        label, color = (name, colors[name]) if name in colors else (None, "0.4" if name in found else "0.65")
        axes.plot(points, difference, color=color, linewidth=1.2 if name in found else 0.7, label=label)
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.set_title(_TITLE.format(level=level), loc="left", fontsize="small")
    if colors:
        figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    save(figure, path)
