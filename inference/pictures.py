"""Pictures of runs: learning curves, convergence of log-likelihood estimates, images."""

from collections.abc import Mapping
from math import isqrt
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
import pandas as pd
from torch import Size, Tensor

from inference.evaluation import Evaluation

# Okabe and Ito's colors, told apart with any color vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FLAT_SHAPES = {560: (28, 20)}
SMALLEST_FLAT = 64  # a table of 9 columns is no image
CHANNELS = (1, 3)


def draw_history(histories: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Draws the validation loss over the epochs of each fit; for a single one the training loss too.

    Args:
        histories: Histories by the fits' names, as :class:`inference.svi.FitResult` has them.
        path: The picture that is written.
    """
    figure, axes = _axes("epoch", "loss (nats per datum)")
    for (name, history), color in zip(histories.items(), _colors(histories), strict=True):
        axes.plot(history["epoch"], history["valid_loss"], color=color, label=f"{name}, validation")
        best = history.loc[history["valid_loss"].idxmin()]
        axes.plot(best["epoch"], best["valid_loss"], "o", color=color, markersize=5)
        if len(histories) == 1:
            axes.plot(history["epoch"], history["train_loss"], color="0.6", label="training")
    axes.set_ylim(top=_loss_limit(histories))
    axes.set_title("Loss by epoch; the dot marks the weights that are kept", loc="left", fontsize="medium")
    axes.legend(frameon=False)
    figure.savefig(path)


def draw_estimates(scores: Mapping[str, Evaluation], path: Path) -> None:
    """Draws the mean estimate of log p(x) over the number of draws that it is made from.

    Args:
        scores: Evaluations by the models' names.
        path: The picture that is written.
    """
    figure, axes = _axes("draws per datum, K", "mean estimate of log p(x) (nats per datum)")
    for (name, score), color in zip(scores.items(), _colors(scores), strict=True):
        curve = score.curve_frame()
        axes.plot(curve.index, curve["log_px"], "o-", color=color, markersize=3, label=name)
    axes.set_xscale("log")
    axes.set_title("Estimates rise to log p(x); K = 1 is the ELBO", loc="left", fontsize="medium")
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path)


def draw_images(rows: Mapping[str, Tensor], path: Path, *, title: str) -> None:
    """Draws rows of images, all on the gray scale of the first row.

    Args:
        rows: Images ``[n, *X]`` by the rows' names, equally many in each; X as :func:`image_shape` takes it.
        path: The picture that is written.
        title: What is shown.

    Raises:
        ValueError: If the data are no images.
    """
    first = next(iter(rows.values()))
    low, high = min(0.0, float(first.min())), float(first.max())
    height, width = image_shape(first.shape[1:])[:2]
    count = len(first)
    figure = Figure(figsize=(1.2 + 0.55 * count, 0.5 + 0.58 * len(rows) * height / width), dpi=150, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    grid = figure.subplots(len(rows), count, squeeze=False)
    for axes_row, (name, images) in zip(grid, rows.items(), strict=True):
        axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axes, image in zip(axes_row, images, strict=True):
            axes.imshow(_pixels((image - low) / (high - low)), cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    figure.savefig(path)


def image_shape(shape: Size) -> tuple[int, ...]:
    """Height, width and, if there are any, channels of a datum that is an image.

    Args:
        shape: Shape of one datum, *X: ``[height, width]``, ``[channels, height, width]``, or a flat square image
            or Frey face.

    Raises:
        ValueError: If the datum is no image.
    """
    if len(shape) == 2:
        return tuple(shape)
    if len(shape) == 3 and shape[0] in CHANNELS:
        return (*shape[1:], shape[0])
    size = shape.numel()
    if len(shape) == 1 and size >= SMALLEST_FLAT and (size in FLAT_SHAPES or isqrt(size) ** 2 == size):
        return FLAT_SHAPES.get(size, (isqrt(size), isqrt(size)))
    raise ValueError(f"only images can be drawn; got data of shape {tuple(shape)}. Give data.shape, such as [28,28].")


def are_images(shape: Size) -> bool:
    """Whether :func:`image_shape` takes a shape."""
    try:
        image_shape(shape)
    except ValueError:
        return False
    return True


def _pixels(image: Tensor) -> np.ndarray:
    image = image.clamp(0, 1).cpu()
    if image.dim() == 3:
        return image.movedim(0, -1).numpy()  # [height, width, channels]
    return image.reshape(image_shape(image.shape)).numpy()  # [height, width]


def _axes(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _colors(names: Mapping[str, object]) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(len(names))]


def _loss_limit(histories: Mapping[str, pd.DataFrame]) -> float:
    """A top that the first epochs may exceed, or the part of the curves that matters would be flat."""
    losses = np.concatenate([history["valid_loss"] for history in histories.values()])
    return float(losses.min() + 4 * (np.median(losses) - losses.min()) + 0.1)
