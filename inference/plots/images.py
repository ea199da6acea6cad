"""Plots of images in rows: samples, reconstructions, data."""

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

from matplotlib.axes import Axes
import numpy as np
import torch
from torch import Size, Tensor

from inference.drawing import label_width, new_axes
from pyro_lvm.arrays import as_tensor
from pyro_lvm.checks import check_counts

FLAT_SHAPES = {560: (28, 20)}
SMALLEST_FLAT = 64  # a table of 9 columns is not an image
CHANNELS = (1, 3)
GAP_GRAY = 0.7
_INCHES = 0.55  # of an image, on axes of their own


def plot_samples(images: Any, *, columns: int = 10, ax: Axes | None = None) -> Axes:
    """Plot images, such as draws of :func:`~inference.predictive.draws.sample_prior`: in rows, or one row for each name of a dict.

    Black is the smallest value of the images, or 0 if there is no negative one, and white the largest. In a dict, these are the values of
    its first row, beyond which the others are drawn black or white: give the data first. Missing values, NaN, are left blank.

    Args:
        images: Images ``[n, *X]``, or a dict of as many for each name; X is ``[height, width]``, ``[channels, height, width]`` with 1 or 3
            channels, or flat: a square of at least 64 pixels, or a Frey face of 560.
        columns: Images side by side, unless there are names.
        ax: Axes to draw on; by default, those of a new figure whose size follows from the images.

    Returns:
        The axes, with a single picture of all images and gray gaps between them.

    Raises:
        ValueError: If the data are not images, or rows differ in the number or the shape of their images.

    Example::

        plot_samples(sample_prior(pair, 50, means=True))
        plot_samples({"data": data.test[:20], "reconstructions": reconstruct(pair, data.test[:20])})
    """
    check_counts(columns=columns)
    is_named = isinstance(images, Mapping)
    rows = {name: as_tensor(row, f"images[{name!r}]") for name, row in images.items()} if is_named else {"": as_tensor(images, "images")}
    _check_rows(rows)
    first = next(iter(rows.values()))
    strips = list(rows.values()) if is_named else list(first.split(columns))
    picture = np.concatenate([_strip(strip, len(strips[0])) for strip in _on_gray_scale(strips, first)])
    if ax is None:
        inches = _INCHES * len(strips[0])
        ax = new_axes(inches + (label_width(rows) if is_named else 0.2), inches * picture.shape[0] / picture.shape[1] + 0.5)
    height = picture.shape[0] / len(strips)
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[(i + 0.5) * height for i in range(len(rows))] if is_named else [])
    if is_named:
        ax.set_yticklabels([str(name) for name in rows])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def image_shape(shape: Size) -> tuple[int, ...]:
    """Height, width and, if there are any, channels of a datum that is an image.

    Args:
        shape: Shape of one datum, *X: ``[height, width]``, ``[channels, height, width]``, or that of a flat
            square image or a flat Frey face.

    Raises:
        ValueError: If the datum is not an image.
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
    """Whether :func:`image_shape` accepts a shape."""
    try:
        image_shape(shape)
    except ValueError:
        return False
    return True


def _check_rows(rows: Mapping[str, Tensor]) -> None:
    if not rows or not all(len(row) for row in rows.values()):
        raise ValueError("images must hold at least one image, or a dict one for each name; got none.")
    for row in rows.values():
        image_shape(row.shape[1:])
    if len({row.shape for row in rows.values()}) > 1:
        got = {name: tuple(row.shape) for name, row in rows.items()}
        raise ValueError(f"images must have as many images of one shape for each name; got {got}. Cut or reshape them.")


def _on_gray_scale(strips: Sequence[Tensor], first: Tensor) -> list[Tensor]:
    """Images with 0 for black and 1 for white."""
    if any(bool(strip.isinf().any()) for strip in strips):
        raise ValueError("images must be finite, or NaN where values are missing; got inf. Leave these images out, or clip them.")
    known = first[~first.isnan()].double()
    low, high = (min(0.0, float(known.min())), float(known.max())) if len(known) else (0.0, 1.0)
    return [((strip.double() - low) / ((high - low) or 1.0)).clamp(0, 1) for strip in strips]


def _strip(images: Tensor, count: int) -> np.ndarray:
    """Images side by side, with gray gaps between and below them, in a strip as long as ``count`` of them."""
    height, width, *channels = image_shape(images.shape[1:])
    images = images.cpu().reshape(-1, *channels, height, width)
    gap = max(1, height // 12)
    framed = torch.nn.functional.pad(images, (0, gap, 0, gap), value=GAP_GRAY)
    empty = torch.full_like(framed[:1], GAP_GRAY).expand(count - len(framed), *framed.shape[1:])
    return np.concatenate([image.movedim(0, -1) if channels else image for image in (*framed, *empty)], axis=1)
