"""Convolutional networks of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
import math

import torch
from torch import Tensor, nn

from pyro_lvm.networks.network import Network, Shape, as_shape


class ConvEncoder(Network):
    r"""Strided convolutions, each halving the image (rounded down), then one affine map.

    Args:
        in_shape: Shape of an image, ``(channels, height, width)`` or ``(height, width)``; at least 8 by 8.
        channels: Channels after each convolution, from the image on.
        out_shape: Features of one output, or the shape of one output.
        activation: Makes the activation module, e.g. ``nn.ReLU``.

    Returns:
        On call with ``[*lead, *in_shape]``: a tensor ``[*lead, *out_shape]``.

    Raises:
        ValueError: If the image is too small for so many halvings, or an input does not end in ``in_shape``.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        channels: Sequence[int],
        out_shape: Shape,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        in_shape = as_shape(in_shape, "in_shape")
        if len(in_shape) not in (2, 3):
            raise ValueError(f"in_shape must be (channels, height, width) or (height, width); got {tuple(in_shape)}.")
        num_channels, height, width = (1, *in_shape)[-3:]
        sizes, widths = halvings(height, width, channels), (num_channels, *as_shape(channels, "channels"))
        layers = [part for n, m in pairwise(widths) for part in (nn.Conv2d(n, m, 4, stride=2, padding=1), activation())]
        num_features, num_outputs = widths[-1] * math.prod(sizes[-1]), as_shape(out_shape, "out_shape").numel()
        layers += [nn.Flatten(), nn.Linear(num_features, num_outputs)]
        super().__init__(nn.Sequential(*layers), in_shape, (num_channels, height, width), out_shape)


class ConvDecoder(Network):
    r"""One affine map to a small image, then transposed convolutions, each doubling the image, up to exactly ``out_shape``.

    The output bias has the shape of one output, as in an :class:`MLP`, so that it can hold a mean image.

    Args:
        in_shape: Features of one input, or the shape of one input, which is flattened. That of the smallest image
            needs no affine map.
        channels: Channels before each transposed convolution, down to the image.
        out_shape: ``(channels, height, width)``, ``(height, width)``, or ``(channels, height, width, P)`` for
            ``P`` parameters of each element; at least 8 by 8.
        activation: Makes the activation module, e.g. ``nn.ReLU``.

    Returns:
        On call with ``[*lead, *in_shape]``: a tensor ``[*lead, *out_shape]``.

    Raises:
        ValueError: If the image is too small for so many doublings, or an input does not end in ``in_shape``.
    """

    def __init__(
        self,
        in_shape: Shape,
        channels: Sequence[int],
        out_shape: Sequence[int],
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        out_shape = as_shape(out_shape, "out_shape")
        if len(out_shape) not in (2, 3, 4):
            raise ValueError(
                "out_shape must be (channels, height, width), (height, width) or "
                f"(channels, height, width, parameters); got {tuple(out_shape)}."
            )
        num_channels, *size, num_params = (1, *out_shape, 1) if len(out_shape) == 2 else (*out_shape, 1)[:4]
        sizes = halvings(*size, channels)[::-1]
        widths = (*as_shape(channels, "channels"), num_channels * num_params)
        in_shape, smallest = as_shape(in_shape, "in_shape"), (widths[0], *sizes[0])
        is_image = in_shape == smallest
        layers = [] if is_image else [nn.Linear(in_shape.numel(), math.prod(smallest)), nn.Unflatten(1, smallest)]
        for (n, m), larger in zip(pairwise(widths), sizes[1:], strict=True):
            layers += [activation(), doubling(n, m, larger)]
        layers[-1].register_parameter("bias", None)  # OutputBias adds the only one
        layers.append(OutputBias((num_channels, *size, num_params)))
        super().__init__(nn.Sequential(*layers), in_shape, smallest if is_image else in_shape.numel(), out_shape)


class OutputBias(nn.Module):
    r"""Move the ``P`` parameters of each element last and add their biases."""

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(1, (self.bias.shape[0], self.bias.shape[-1]))  # [N, channels, P, height, width]
        return x.movedim(2, -1) + self.bias  # [N, channels, height, width, P]


def doubling(in_channels: int, out_channels: int, size: tuple[int, int]) -> nn.ConvTranspose2d:
    """A transposed convolution to images of ``size``, twice that of its inputs."""
    # The output padding brings back the row or column that halving an odd size drops.
    odd = (size[0] % 2, size[1] % 2)
    return nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, output_padding=odd)


def halvings(height: int, width: int, channels: Sequence[int]) -> list[tuple[int, int]]:
    r"""Image sizes before, between and after the convolutions, or an error where nothing would be left."""
    most = min(height, width).bit_length() - 1
    if most < 3:
        raise ValueError(f"Images must be at least 8 by 8; got {height} by {width}. Use an MLP instead.")
    if not 1 <= len(channels) <= most:
        raise ValueError(f"channels must have 1 to {most} entries, for so often can {height} by {width} be halved; got {len(channels)}.")
    return [(height >> i, width >> i) for i in range(len(channels) + 1)]
