"""Pictures of runs: learning curves, convergence of log-likelihood estimates, images."""

from collections.abc import Iterable, Mapping
from math import isqrt
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
import pandas as pd
import torch
from torch import Size, Tensor

from inference.evaluation import Evaluation

# Okabe and Ito's colors, told apart with any color vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FLAT_SHAPES = {560: (28, 20)}
SMALLEST_FLAT = 64  # a table of 9 columns is no image
CHANNELS = (1, 3)
DPI = 150
GAP_GRAY = 0.7


def draw_history(histories: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Draws the validation loss of each fit over its epochs; for a single fit the training loss too.

    Args:
        histories: Histories by the fits' names, as :class:`inference.svi.FitResult` has them.
        path: The picture that is written.
    """
    is_single = len(histories) == 1
    figure, axes = make_axes("epoch", f"{'' if is_single else 'validation '}loss (nats per datum)")
    for (name, history), color in zip(histories.items(), colors_of(histories), strict=True):
        epoch, loss = history["epoch"], history["valid_loss"]
        axes.plot(epoch, loss, color=color, label="validation" if is_single else name)
        axes.plot(epoch[loss.idxmin()], loss.min(), "o", color=color, markersize=5)
        if is_single:
            axes.plot(epoch, history["train_loss"], color="0.6", label="training")
    axes.set_ylim(top=_loss_limit(histories))
    axes.set_title("The dot marks the weights that are kept", loc="left", fontsize="medium")
    axes.legend(frameon=False)
    figure.savefig(path)


def draw_estimates(scores: Mapping[str, Evaluation], path: Path) -> None:
    """Draws the mean estimate of log p(x) over the number of draws that it is made from.

    Args:
        scores: Evaluations by the models' names.
        path: The picture that is written.
    """
    figure, axes = make_axes("draws per datum, K", "mean estimate of log p(x) (nats per datum)")
    for (name, score), color in zip(scores.items(), colors_of(scores), strict=True):
        curve = score.curve_frame()
        axes.plot(curve.index, curve["log_px"], "o-", color=color, markersize=3, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_title("Estimates rise to log p(x); K = 1 estimates the ELBO", loc="left", fontsize="medium")
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
    strips = [_strip((images - low) / (high - low)) for images in rows.values()]
    height, width = strips[0].shape[:2]
    inches = 0.55 * len(first)
    size = (inches + label_width(rows), inches * height / width * len(rows) + 0.5)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.concatenate(strips), cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, loc="left", fontsize="medium")
    axes.set(xticks=[], yticks=[(i + 0.5) * height for i in range(len(rows))], yticklabels=rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.savefig(path)


def image_shape(shape: Size) -> tuple[int, ...]:
    """Height, width and, if there are any, channels of a datum that is an image.

    Args:
        shape: Shape of one datum, *X: ``[height, width]``, ``[channels, height, width]``, or that of a flat
            square image or a flat Frey face.

    Raises:
        ValueError: If the datum is no image.
    """
    if len(shape) == 2:
        return tuple(shape)
    if len(shape) == 3 and shape[0] in CHANNELS:
        return (*shape[1:], shape[0])
    size = shape.numel()
    height, width = FLAT_SHAPES.get(size, (isqrt(size), isqrt(size)))
    if len(shape) == 1 and size >= SMALLEST_FLAT and height * width == size:
        return height, width
    raise ValueError(f"only images can be drawn; got shape {tuple(shape)}. Give data.shape, such as [28,28].")


def are_images(shape: Size) -> bool:
    """Whether :func:`image_shape` takes a shape."""
    try:
        image_shape(shape)
    except ValueError:
        return False
    return True


def make_axes(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """A figure of the common size, and its axes without a frame."""
    figure = Figure(figsize=(6.4, 4.0), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def label_width(names: Iterable[str]) -> float:
    """Inches that names take beside a picture; those of runs may be long paths."""
    return max(1.2, 0.3 + 0.095 * max(map(len, names)))


def colors_of(names: Mapping[str, object]) -> list[str]:
    """A color for each model, the same in every picture of the same models."""
    return [COLORS[i % len(COLORS)] for i in range(len(names))]


def _strip(images: Tensor) -> np.ndarray:
    """Images side by side, gray between them and below."""
    height, width, *channels = image_shape(images.shape[1:])
    images = images.clamp(0, 1).cpu().reshape(-1, *channels, height, width)
    gap = max(1, height // 12)
    framed = torch.nn.functional.pad(images, (0, gap, 0, gap), value=GAP_GRAY)
    return np.concatenate([image.movedim(0, -1) if channels else image for image in framed], axis=1)


def _loss_limit(histories: Mapping[str, pd.DataFrame]) -> float:
    """A top that the first epochs may exceed, or the part of the curves that matters would be flat."""
    losses = np.concatenate([history["valid_loss"] for history in histories.values()])
    return min(losses.max(), losses.min() + 4 * (np.median(losses) - losses.min())) + 0.1
