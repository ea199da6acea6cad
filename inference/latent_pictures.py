"""Pictures of latent spaces: codes against the prior, where either lacks the other, what the KL is made of, and walks."""

from collections.abc import Mapping
from math import ceil
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA
from torch import Tensor

PRIOR, CODES, HOLE, STRAY = "#0072B2", "0.35", "#E69F00", "#CC79A7"
NUM_CELLS = 64
_SMOOTHING = 1.5  # cells
_MOST_POINTS = 1500
_MASS, _RATIO = 0.8, 10


def draw_codes(codes: Mapping[str, Tensor], draws: Mapping[str, Tensor], path: Path) -> None:
    """Draws codes and prior in the plane in which the codes vary most, and marks where one of them lacks the other.

    Latents of one or two dimensions are drawn as they are. A hole that is seen is one: where the densities of two
    projections differ tenfold, those in the whole space do somewhere. More may be hidden.

    Args:
        codes: Draws of q(z|x) of the data ``[N, D]``, by the models' names.
        draws: As many draws of p(z), ``[N, D]``, by the same names.
        path: The picture that is written.
    """
    columns = min(3, len(codes))
    rows = ceil(len(codes) / columns)
    figure = Figure(figsize=(3.2 * columns, 3.2 * rows + 0.5), dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(codes) :]:
        axes.set_visible(False)
    for (name, z), axes in zip(codes.items(), panels, strict=False):
        axes.set_title(name, loc="left", fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
        _draw_plane(axes, *_plane(z, draws[name]))
    handles = [
        Line2D([], [], color=PRIOR, label="prior: half and 90% of its mass"),
        Line2D([], [], color=CODES, marker=".", linestyle="", label="codes"),
        Patch(color=HOLE, alpha=0.6, label="prior without codes"),
        Patch(color=STRAY, alpha=0.6, label="codes without prior"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4 if columns > 2 else 2, frameon=False, fontsize="small")
    figure.savefig(path)


def draw_dimension_kl(kls: Mapping[str, pd.Series], path: Path) -> None:
    """Draws the part of each latent dimension in the KL, largest first.

    Args:
        kls: KL of each dimension in nats, by the models' names.
        path: The picture that is written.
    """
    largest = max(float(kl.max()) for kl in kls.values())
    figure = Figure(figsize=(6.4, 1.3 * len(kls) + 0.8), dpi=150, layout="constrained")
    panels = figure.subplots(len(kls), 1, sharex=True, squeeze=False).ravel()
    for (name, kl), axes in zip(kls.items(), panels, strict=True):
        values = np.sort(kl.to_numpy())[::-1]
        axes.bar(np.arange(1, len(values) + 1), values, color=PRIOR)
        axes.set_ylim(0, 1.05 * largest)
        axes.set_title(name, loc="left", fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("latent dimension, by rank")
    figure.supylabel("KL (nats)", fontsize="medium")
    figure.savefig(path)


def holes(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The cells of a grid in which the first density is high, and the second a tenth of it at most.

    Args:
        first: Density of each cell.
        second: Density of each cell, normalized like the first.

    Returns:
        Booleans of the same shape. High is what belongs to the densest cells that hold 80% of the mass.
    """
    return (first >= _level(first, _MASS)) & (second * _RATIO <= first)


def _plane(codes: Tensor, draws: Tensor) -> tuple[np.ndarray, np.ndarray]:
    z, prior = codes.flatten(1).numpy(), draws.flatten(1).numpy()
    if z.shape[1] <= 2:
        return z, prior
    pca = PCA(2, random_state=0).fit(z)
    return pca.transform(z), pca.transform(prior)


def _draw_plane(axes: Axes, z: np.ndarray, prior: np.ndarray) -> None:
    edges = _edges(z, prior)
    codes_density, prior_density = _density(z, edges), _density(prior, edges)
    centers = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    marks = ((holes(prior_density, codes_density), HOLE), (holes(codes_density, prior_density), STRAY))
    (_draw_line if len(edges) == 1 else _draw_map)(axes, centers, codes_density, prior_density, marks)
    if len(edges) == 2:
        axes.plot(*z[:_MOST_POINTS].T, ".", color=CODES, markersize=1.5, alpha=0.5, zorder=1)
        axes.set(xlim=edges[0][[0, -1]], ylim=edges[1][[0, -1]])


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
