"""Plots of latent spaces: codes and prior in a plane, and where one of them is missing."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation
import numpy as np
import pandas as pd
from scipy.linalg import eigh
from scipy.ndimage import gaussian_filter
import torch
from torch import Tensor

from inference.data.splits import random_rows
from inference.drawing import new_axes
from inference.predictive.draws import Values, encode, in_blocks, sample_latents
from pyro_lvm.checks import check_counts, check_seeds
from pyro_lvm.pair import Batch
from pyro_lvm.reading import read_batch

PRIOR, CODES, HOLE, STRAY = "#0072B2", "0.35", "#E69F00", "#CC79A7"
NUM_CODES = 5000
NUM_CELLS = 64
_SMOOTHING = 2.0  # cells
_MOST_POINTS = 1500
_MASS, _RATIO = 0.8, 10
_MOST_LABELS = 20
_LEGEND_INCHES = 0.5  # below the axes, whose own labels are between


class _Group(NamedTuple):
    """Codes of one color: their name in the legend, and which they are of all codes."""

    name: str
    color: str
    members: np.ndarray


def plot_codes(pair: object, *data: Any, labels: Any = None, num_codes: int = NUM_CODES, seed: int = 0, ax: Axes | None = None) -> Axes:
    r"""Plot codes of data and the prior in the plane that best tells data apart, and mark where one of the two is missing.

    Latents of two dimensions are drawn as they are: a dot for each of at most 1500 codes :math:`z \sim q(z \mid x_n)`, and the lines within
    which the densest 50% and 90% of the prior p(z) lie. Latents of one dimension have two curves, the shares of codes and of prior draws in
    each of 64 cells. Of more dimensions, the plane has the two directions in which two draws for one datum correlate most, scaled so that
    codes have mean 0 and variance 1. Several latents are one vector.

    Colored areas are where one of the two has the densest 80% of its mass and the other at most a tenth of its density, both smoothed. What
    is marked is real: where the densities of two projections differ tenfold, those in the whole space do so somewhere. Other holes may be
    hidden.

    Args:
        pair: Any pair with continuous latents.
        data: Observations ``[N, *X]``, then any other arguments of the pair; or data in any other form that
            :func:`~inference.scoring.importance.evaluate` takes, of which the test data are used.
        labels: A value for each datum, ``[N]``, by which dots are colored, such as its class; at most 20 different ones.
        num_codes: Number of codes, two or more of each of random data, and of prior draws.
        seed: Seed of the choice of data and of codes; that of prior draws is the next one.
        ax: Axes to draw on; by default, those of a new figure. The legend is below them, as on axes with ``layout="constrained"``.

    Returns:
        The axes.

    Raises:
        ValueError: If latents are discrete, or there are more or fewer labels than data or labels of too many values.

    Example::

        plot_codes(pair, data.train, labels=data.labels["train"])
    """
    check_counts(2, num_codes=num_codes)
    check_seeds(seed=seed)
    batch = read_batch(pair, data)
    rows = random_rows(torch.arange(len(batch[0])), num_codes // 2, seed=seed)
    own = None if labels is None else _checked_labels(labels, len(batch[0]))[rows.numpy()]
    codes, draws = _codes_and_draws(pair, tuple(x[rows] for x in batch), num_codes, seed)
    groups = _groups(own, 2 * codes.shape[1])
    axes = new_axes(4.4, 4.2 + 0.1 * len(groups)) if ax is None else ax
    axes.spines[["top", "right"]].set_visible(False)
    handles = _draw_plane(axes, *_plane(codes, draws), groups)
    below = axes.transAxes + ScaledTranslation(0, -_LEGEND_INCHES, axes.figure.dpi_scale_trans)
    axes.legend(
        handles=handles,
        ncols=2 if len(handles) <= 4 else 3,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=below,
        borderaxespad=0,
        frameon=False,
        fontsize="small",
    )
    return axes


def _codes_and_draws(pair: object, batch: Batch, num_codes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two draws from q(z|x) for each row of a batch and its repetitions, ``[2, M, D]``, and as many draws from the prior, ``[2 M, D]``.

    Raises:
        ValueError: If latents are discrete.
    """
    copies = 2 * max(1, num_codes // 2 // len(batch[0]))
    batch = tuple(x.repeat(copies, *[1] * (x.dim() - 1)) for x in batch)
    codes = in_blocks(lambda *rows: encode(pair, *rows), *batch, seed=seed)
    if not is_continuous(codes):
        raise ValueError("latents must be continuous to be drawn in a plane; got discrete ones. Draw samples or reconstructions instead.")
    draws = in_blocks(lambda *rows: sample_latents(pair, *rows), *batch, seed=seed + 1)
    return torch.stack(_joined(codes).chunk(2)), _joined(draws)


def is_continuous(codes: Values) -> bool:
    """Whether there are latents and all of them are continuous."""
    values = [*codes.values()] if isinstance(codes, dict) else [codes]
    return bool(values) and all(each.is_floating_point() for each in values)


def _joined(codes: Values) -> Tensor:
    values = codes.values() if isinstance(codes, dict) else [codes]
    return torch.cat([part.reshape(len(part), -1).cpu().double() for part in values], dim=1)  # [M, D]


def holes(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Find the cells of a grid in which the first density is high and the second is at most a tenth of it.

    Args:
        first: Density of each cell.
        second: Density of each cell, normalized like the first.

    Returns:
        Booleans of the same shape; a density is high in the densest cells that hold 80% of its mass.
    """
    return (first >= _level(first, _MASS)) & (second * _RATIO <= first)


def _plane(codes: Tensor, draws: Tensor) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Codes and prior draws in one or two dimensions, and the names of these."""
    z, prior = codes.flatten(0, 1).numpy(), draws.numpy()  # [2 M, D]
    if z.shape[1] <= 2:
        return z, prior, ("$z$",) if z.shape[1] == 1 else ("$z_1$", "$z_2$")
    first, second = codes.numpy() - z.mean(0)
    shared = (first.T @ second + second.T @ first) / len(z)
    total = np.cov(z.T)
    directions = eigh(shared, total + 1e-9 * np.trace(total) * np.eye(len(total)))[1][:, :-3:-1]  # [D, 2]
    return (z - z.mean(0)) @ directions, (prior - z.mean(0)) @ directions, ("first direction", "second direction")


def _checked_labels(labels: Any, size: int) -> np.ndarray:
    values = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels).reshape(-1)
    if len(values) != size:
        raise ValueError(f"labels must have one value for each of {size} data; got {len(values)}.")
    if pd.isna(values).any():
        raise ValueError(f"labels must not be missing; got {int(pd.isna(values).sum())} that are. Give them a value of their own.")
    if (count := len(np.unique(values))) > _MOST_LABELS:
        raise ValueError(f"labels must have at most {_MOST_LABELS} values, which colors tell apart; got {count}. Join some of them.")
    return values


def _groups(labels: np.ndarray | None, size: int) -> list[_Group]:
    """The codes by label; those of each datum lie len(labels) apart."""
    if labels is None:
        return [_Group("codes", CODES, np.ones(size, dtype=bool))]
    values, colors = np.unique(labels), [*colormaps["tab10"](range(10)), *colormaps["Set3"](range(12))]
    repeated = np.tile(labels, size // len(labels))
    return [_Group(f"codes: {value}", to_hex(color), repeated == value) for value, color in zip(values, colors, strict=False)]


def _draw_plane(axes: Axes, z: np.ndarray, prior: np.ndarray, names: tuple[str, ...], groups: Sequence[_Group]) -> list[Artist]:
    """Draw on axes and return the handles of their legend."""
    edges = _edges(z, prior)
    codes_density, prior_density = _density(z, edges), _density(prior, edges)
    centers = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    marks = {"prior without codes": (holes(prior_density, codes_density), HOLE)}
    marks["codes without prior"] = (holes(codes_density, prior_density), STRAY)
    axes.set(xlabel=names[0], ylabel=names[1] if len(names) > 1 else f"share in each of {NUM_CELLS} cells")
    if len(edges) == 1:
        handles = _draw_lines(axes, centers[0], prior_density, [_density(z[own.members], edges, len(z)) for own in groups], groups)
        top = max(codes_density.max(), prior_density.max())
        for mask, color in marks.values():
            axes.fill_between(centers[0], 0, top, where=mask, color=color, alpha=0.5, linewidth=0)
    else:
        handles = _draw_points(axes, z[:_MOST_POINTS], groups)
        _draw_map(axes, centers, prior_density, marks.values())
        axes.set(xlim=edges[0][[0, -1]], ylim=edges[1][[0, -1]])
    return [*handles, *(Patch(color=color, alpha=0.5, label=words) for words, (mask, color) in marks.items() if mask.any())]


def _draw_lines(axes: Axes, centers: np.ndarray, prior: np.ndarray, codes: Sequence[np.ndarray], groups: Sequence[_Group]) -> list[Artist]:
    lines = axes.plot(centers, prior, color=PRIOR, label="prior")
    for own, shares in zip(groups, codes, strict=True):
        lines += axes.plot(centers, shares, color=own.color, linestyle="--", label=own.name)
    return [*lines]


def _draw_points(axes: Axes, z: np.ndarray, groups: Sequence[_Group]) -> list[Artist]:
    size = 1.5 if len(groups) == 1 else 3.0
    for own in groups:
        axes.plot(*z[own.members[: len(z)]].T, ".", color=own.color, markersize=size, alpha=0.6, zorder=1)
    dots = [Line2D([], [], color=own.color, marker=".", linestyle="", label=own.name) for own in groups]
    return [Line2D([], [], color=PRIOR, label="prior: 50% and 90% of it"), *dots]


def _draw_map(axes: Axes, centers: list[np.ndarray], prior_density: np.ndarray, marks: Iterable[tuple[np.ndarray, str]]) -> None:
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


def _density(points: np.ndarray, edges: list[np.ndarray], total: int | None = None) -> np.ndarray:
    """A smoothed histogram whose cells sum to one, or to the share of these points in a total."""
    density = gaussian_filter(np.histogramdd(points, edges)[0], _SMOOTHING, mode="constant")
    return density / (total or density.sum())


def _level(density: np.ndarray, share: float) -> float:
    """The density above which cells hold a share of the mass."""
    cells = np.sort(density, axis=None)[::-1]
    return float(cells[np.searchsorted(cells.cumsum(), share * cells.sum())])
