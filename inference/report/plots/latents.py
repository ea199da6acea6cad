"""Plots of latent spaces: codes and prior, and where one of them is missing."""

from collections.abc import Mapping
from math import ceil
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
import numpy as np
from scipy.linalg import eigh
from scipy.ndimage import gaussian_filter
from torch import Tensor

from inference.drawing import DPI, save

PRIOR, CODES, HOLE, STRAY = "#0072B2", "0.35", "#E69F00", "#CC79A7"
NUM_CELLS = 64
_SMOOTHING = 2.0  # cells
_MOST_POINTS = 1500
_MASS, _RATIO = 0.8, 10


def draw_codes(codes: Mapping[str, Tensor], draws: Mapping[str, Tensor], path: Path) -> None:
    """Draw codes and prior in the plane that best tells data apart, and mark where one of the two is missing.

    Latents of one or two dimensions are drawn as they are. Of more dimensions, the plane has the two directions in which two draws
    for one datum correlate most, scaled so that codes have variance 1. A hole that is seen is real: where the densities of two
    projections differ tenfold, those in the whole space do so somewhere. Other holes may be hidden.

    Args:
        codes: Two draws from q(z|x) for each datum, ``[2, N, D]``, by the names of the models.
        draws: The same number of draws from p(z), ``[2 N, D]``, by the same names.
        path: File to write.
    """
    columns = 2 if len(codes) == 4 else min(3, len(codes))
    rows = ceil(len(codes) / columns)
    figure = Figure(figsize=(3.2 * columns, 3.2 * rows + 0.5), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(codes) :]:
        axes.set_visible(False)
    marked = set()
    for (name, z), axes in zip(codes.items(), panels, strict=False):
        axes.set_title(name, loc="left", fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
        marked |= _draw_plane(axes, *_plane(z, draws[name]))
    labels = {HOLE: "prior without codes", STRAY: "codes without prior"}
    handles = [
        Line2D([], [], color=PRIOR, label="prior (in a plane: 50% and 90% of its mass)"),
        Line2D([], [], color=CODES, marker=".", linestyle="", label="codes"),
        *(Patch(color=color, alpha=0.6, label=label) for color, label in labels.items() if color in marked),
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=min(2, columns), frameon=False, fontsize="small")
    save(figure, path)


def holes(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Find the cells of a grid in which the first density is high and the second is at most a tenth of it.

    Args:
        first: Density of each cell.
        second: Density of each cell, normalized like the first.

    Returns:
        Booleans of the same shape; a density is high in the densest cells that hold 80% of its mass.
    """
    return (first >= _level(first, _MASS)) & (second * _RATIO <= first)


def _plane(codes: Tensor, draws: Tensor) -> tuple[np.ndarray, np.ndarray]:
    z, prior = codes.flatten(0, 1).double().numpy(), draws.double().numpy()  # [2 N, D]
    if z.shape[1] <= 2:
        return z, prior
    first, second = codes.double().numpy() - z.mean(0)
    shared = (first.T @ second + second.T @ first) / len(z)
    total = np.cov(z.T)
    directions = eigh(shared, total + 1e-9 * np.trace(total) * np.eye(len(total)))[1][:, :-3:-1]  # [D, 2]
    return (z - z.mean(0)) @ directions, (prior - z.mean(0)) @ directions


def _draw_plane(axes: Axes, z: np.ndarray, prior: np.ndarray) -> set[str]:
    """Draw one panel and return the colors of the marks in it."""
    edges = _edges(z, prior)
    codes_density, prior_density = _density(z, edges), _density(prior, edges)
    centers = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    marks = ((holes(prior_density, codes_density), HOLE), (holes(codes_density, prior_density), STRAY))
    (_draw_line if len(edges) == 1 else _draw_map)(axes, centers, codes_density, prior_density, marks)
    if len(edges) == 2:
        axes.plot(*z[:_MOST_POINTS].T, ".", color=CODES, markersize=1.5, alpha=0.5, zorder=1)
        axes.set(xlim=edges[0][[0, -1]], ylim=edges[1][[0, -1]])
    return {color for mask, color in marks if mask.any()}


def _draw_line(axes: Axes, centers: list, codes_density: np.ndarray, prior_density: np.ndarray, marks: tuple) -> None:
    axes.plot(centers[0], prior_density, color=PRIOR)
    axes.plot(centers[0], codes_density, color=CODES, linestyle="--")
    top = max(codes_density.max(), prior_density.max())
    for mask, color in marks:
        axes.fill_between(centers[0], 0, top, where=mask, color=color, alpha=0.35, linewidth=0)


def _draw_map(axes: Axes, centers: list, codes_density: np.ndarray, prior_density: np.ndarray, marks: tuple) -> None:
    for mask, color in marks:
        if mask.any():
            axes.contourf(*centers, mask.T.astype(float), levels=[0.5, 1.5], colors=[color], alpha=0.5, zorder=2)
    levels = sorted({_level(prior_density, share) for share in (0.5, 0.9)})
    axes.contour(*centers, prior_density.T, levels=levels, colors=PRIOR, linewidths=1.2, zorder=3)


def _edges(z: np.ndarray, prior: np.ndarray) -> list[np.ndarray]:
    pooled = np.concatenate([z, prior])
    low, high = np.quantile(pooled, [0.001, 0.999], axis=0)
    margin = 0.08 * (high - low) + 1e-6
    return [np.linspace(a, b, NUM_CELLS + 1) for a, b in zip(low - margin, high + margin, strict=True)]


def _density(points: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """A smoothed histogram whose cells sum to one."""
    density = gaussian_filter(np.histogramdd(points, edges)[0], _SMOOTHING, mode="constant")
    return density / density.sum()


def _level(density: np.ndarray, share: float) -> float:
    """The density above which cells hold a share of the mass."""
    cells = np.sort(density, axis=None)[::-1]
    return float(cells[np.searchsorted(cells.cumsum(), share * cells.sum())])
