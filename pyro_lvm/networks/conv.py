"""Convolutional networks for images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
import math

import torch
from torch import Tensor, nn

from pyro_lvm.networks.network import Network, Shape, as_shape


class ConvEncoder(Network):
    r"""Strided convolutions that each halve the image (rounded down), then one affine map.

    Args:
        in_shape: Shape of an image, ``(channels, height, width)`` or ``(height, width)``; at least 8 by 8.
        channels: Channels after each convolution, in order from the image.
        out_shape: Number of features of one output, or its shape.
        activation: Callable that makes the activation module, e.g. ``nn.ReLU``.

    Returns:
        On call with ``[*lead, *in_shape]``: a tensor ``[*lead, *out_shape]``.

    Raises:
        ValueError: If the image is too small to be halved this many times, or an input does not end in ``in_shape``.
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
    r"""One affine map to a small image, then transposed convolutions that each double the image, up to exactly ``out_shape``.

    The output bias has the shape of one output, as in an :class:`~pyro_lvm.networks.mlp.MLP`, so that it can hold a mean image.

    Args:
        in_shape: Number of features of one input, or its shape; the input is flattened. With the shape of the smallest
            image, there is no affine map.
        channels: Channels before each transposed convolution, in order down to the image.
        out_shape: ``(channels, height, width)``, ``(height, width)``, or ``(channels, height, width, P)`` for
            ``P`` parameters of each element; at least 8 by 8.
        activation: Callable that makes the activation module, e.g. ``nn.ReLU``.

    Returns:
        On call with ``[*lead, *in_shape]``: a tensor ``[*lead, *out_shape]``.

    Raises:
        ValueError: If the image is too small for this many doublings, or an input does not end in ``in_shape``.
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
        num_channels, height, width, num_params = (1, *out_shape, 1) if len(out_shape) == 2 else (*out_shape, 1)[:4]
        sizes = halvings(height, width, channels)[::-1]
        widths = (*as_shape(channels, "channels"), num_channels * num_params)
        in_shape, smallest = as_shape(in_shape, "in_shape"), (widths[0], *sizes[0])
        is_image = in_shape == smallest
        layers = [] if is_image else [nn.Linear(in_shape.numel(), math.prod(smallest)), nn.Unflatten(1, smallest)]
        for (n, m), larger in zip(pairwise(widths), sizes[1:], strict=True):
            layers += [activation(), doubling(n, m, larger)]
        layers[-1].register_parameter("bias", None)  # OutputBias adds the only bias
        layers.append(OutputBias((num_channels, height, width, num_params)))
        super().__init__(nn.Sequential(*layers), in_shape, smallest if is_image else in_shape.numel(), out_shape)


class OutputBias(nn.Module):
    r"""Layer that moves the ``P`` parameters of each element last and adds their biases."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(1, (self.bias.shape[0], self.bias.shape[-1]))  # [N, channels, P, height, width]
        return x.movedim(2, -1) + self.bias  # [N, channels, height, width, P]


def doubling(in_channels: int, out_channels: int, size: Sequence[int]) -> nn.ConvTranspose2d:
    """Return a transposed convolution to images of ``size``, twice the size of its inputs."""
    # The output padding brings back the row or column that halving an odd size drops.
    odd = (size[0] % 2, size[1] % 2)
    return nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, output_padding=odd)


def halvings(height: int, width: int, channels: Sequence[int]) -> list[tuple[int, int]]:
    r"""Return the image sizes before, between and after the convolutions; raise an error if nothing would be left."""
    most = min(height, width).bit_length() - 1
    if most < 3:
        raise ValueError(f"Images must be at least 8 by 8; got {height} by {width}. Use an MLP instead.")
    if not 1 <= len(channels) <= most:
        raise ValueError(
            f"channels must have 1 to {most} entries, because {height} by {width} can be halved at most {most} times; got {len(channels)}."
        )
    return [(height >> i, width >> i) for i in range(len(channels) + 1)]
