"""Rows of images."""

from collections.abc import Mapping
from math import isqrt
from pathlib import Path

from matplotlib.figure import Figure
import numpy as np
import torch
from torch import Size, Tensor

from inference.drawing import DPI, label_width, save

FLAT_SHAPES = {560: (28, 20)}
SMALLEST_FLAT = 64  # a table of 9 columns is not an image
CHANNELS = (1, 3)
GAP_GRAY = 0.7


def draw_images(rows: Mapping[str, Tensor], path: Path, *, title: str) -> None:
    """Draw rows of images, all on the gray scale of the first row.

    Args:
        rows: Images ``[n, *X]`` by the names of the rows, the same number in each; X as accepted by :func:`image_shape`.
        path: File to write.
        title: Title of the picture.

    Raises:
        ValueError: If the data are not images.
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
    save(figure, path)


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


def _strip(images: Tensor) -> np.ndarray:
    """Images side by side, with gray gaps between and below them."""
    height, width, *channels = image_shape(images.shape[1:])
    images = images.clamp(0, 1).cpu().reshape(-1, *channels, height, width)
    gap = max(1, height // 12)
    framed = torch.nn.functional.pad(images, (0, gap, 0, gap), value=GAP_GRAY)
    return np.concatenate([image.movedim(0, -1) if channels else image for image in framed], axis=1)
