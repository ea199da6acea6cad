r"""Networks: tensors ``[*lead, *in_shape]`` to tensors ``[*lead, *out_shape]``, any leading dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Size, Tensor, nn

Shape = int | Sequence[int]


class Network(nn.Module):
    r"""Apply ``layers`` to every input, with the leading dimensions flattened into one.

    Args:
        layers: Maps ``[N, *layer_shape]`` to ``[N, ...]``, each row with as many elements as ``out_shape``.
        in_shape: Shape of one input.
        layer_shape: Shape in which ``layers`` takes one input.
        out_shape: Shape of one output.

    Returns:
        On call with ``[*lead, *in_shape]``: a tensor ``[*lead, *out_shape]``.

    Raises:
        ValueError: If an input does not end in ``in_shape``.
    """

    def __init__(self, layers: nn.Module, in_shape: Shape, layer_shape: Shape, out_shape: Shape) -> None:
        super().__init__()
        self.layers = layers
        self.in_shape = _shape(in_shape, "in_shape")
        self.layer_shape = _shape(layer_shape, "layer_shape")
        self.out_shape = _shape(out_shape, "out_shape")

    def forward(self, x: Tensor) -> Tensor:
        lead = self._lead_shape(x)
        y = self.layers(_reshaped(x, (lead.numel(), *self.layer_shape)))  # [N, ...]
        return _reshaped(y, lead + self.out_shape)  # [*lead, *out_shape]

    def _lead_shape(self, x: Tensor) -> Size:
        num_lead = x.dim() - len(self.in_shape)
        if num_lead < 0 or x.shape[num_lead:] != self.in_shape:
            name, expected = type(self).__name__, ", ".join(map(str, self.in_shape))
            raise ValueError(
                f"{name} expects an input of shape [*lead, {expected}]; got {tuple(x.shape)}. "
                f"Reshape the input, or build the {name} for inputs of this shape."
            )
        return x.shape[:num_lead]


class MLP(Network):
    r"""Multilayer perceptron: affine layers with an activation between them.

    .. math:: h_0 = x, \quad h_l = \sigma(W_l h_{l-1} + b_l), \quad y = W_{L+1} h_L + b_{L+1}

    Args:
        in_shape: Features of one input, or the shape of one input, which is flattened.
        hidden: Widths of the hidden layers; an empty sequence leaves one affine map.
        out_shape: Features of one output, or the shape of one output.
        activation: Makes the activation module, e.g. ``nn.ReLU``.

    Returns:
        On call with ``[*lead, *in_shape]``: a tensor ``[*lead, *out_shape]``.

    Raises:
        ValueError: If a size is not positive, or an input does not end in ``in_shape``.
    """

    def __init__(
        self, in_shape: Shape, hidden: Shape, out_shape: Shape, activation: Callable[[], nn.Module] = nn.ReLU
    ) -> None:
        layers = _perceptron(in_shape, hidden, out_shape, lambda n, m: (nn.Linear(n, m), activation()))
        super().__init__(layers, in_shape, layers[0].in_features, out_shape)


class GatedMLP(Network):
    r"""Multilayer perceptron with gated linear units.

    .. math:: h_l = (W_l h_{l-1} + b_l) \odot \sigma(V_l h_{l-1} + c_l), \quad y = W_{L+1} h_L + b_{L+1}

    Args:
        in_shape: Features of one input, or the shape of one input, which is flattened.
        hidden: Widths of the hidden layers; an empty sequence leaves one affine map.
        out_shape: Features of one output, or the shape of one output.

    Returns:
        On call with ``[*lead, *in_shape]``: a tensor ``[*lead, *out_shape]``.

    Raises:
        ValueError: If a size is not positive, or an input does not end in ``in_shape``.

    References:
        Dauphin, Fan, Auli, Grangier (2017), Language Modeling with Gated Convolutional Networks.
        https://arxiv.org/abs/1612.08083
        Tomczak, Welling (2018), VAE with a VampPrior. https://arxiv.org/abs/1705.07120
    """

    def __init__(self, in_shape: Shape, hidden: Shape, out_shape: Shape) -> None:
        # One matrix product of twice the width gives both halves of a gated layer.
        layers = _perceptron(in_shape, hidden, out_shape, lambda n, m: (nn.Linear(n, 2 * m), nn.GLU()))
        super().__init__(layers, in_shape, layers[0].in_features, out_shape)


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
        in_shape = _shape(in_shape, "in_shape")
        if len(in_shape) not in (2, 3):
            raise ValueError(
                f"in_shape must be (channels, height, width) or (height, width); got {tuple(in_shape)}."
            )
        num_channels, height, width = (1, *in_shape)[-3:]
        sizes, widths = halvings(height, width, channels), (num_channels, *_shape(channels, "channels"))
        layers = [
            part
            for n, m in zip(widths, widths[1:])
            for part in (nn.Conv2d(n, m, 4, stride=2, padding=1), activation())
        ]
        num_features, num_outputs = widths[-1] * math.prod(sizes[-1]), _shape(out_shape, "out_shape").numel()
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
        out_shape = _shape(out_shape, "out_shape")
        if len(out_shape) not in (2, 3, 4):
            raise ValueError(
                "out_shape must be (channels, height, width), (height, width) or "
                f"(channels, height, width, parameters); got {tuple(out_shape)}."
            )
        num_channels, *size, num_params = (1, *out_shape, 1) if len(out_shape) == 2 else (*out_shape, 1)[:4]
        sizes = halvings(*size, channels)[::-1]
        widths = (*_shape(channels, "channels"), num_channels * num_params)
        in_shape, smallest = _shape(in_shape, "in_shape"), (widths[0], *sizes[0])
        is_image = in_shape == smallest
        layers = [] if is_image else [nn.Linear(in_shape.numel(), math.prod(smallest)), nn.Unflatten(1, smallest)]
        for n, m, larger in zip(widths, widths[1:], sizes[1:]):
            layers += [activation(), doubling(n, m, larger)]
        layers[-1].register_parameter("bias", None)  # _OutputBias adds the only one
        layers.append(_OutputBias((num_channels, *size, num_params)))
        super().__init__(nn.Sequential(*layers), in_shape, smallest if is_image else in_shape.numel(), out_shape)


class Join(nn.Module):
    r"""One network of two inputs, each with a network of its own.

    .. math:: y = f([g_1(a), g_2(b)])

    Leading dimensions are broadcast after :math:`g_1` and :math:`g_2`: features of a datum are computed once, not for each draw.

    Args:
        first: :math:`g_1`; by default the identity.
        second: :math:`g_2`; by default the identity.
        network: :math:`f`; by default the identity.
        event_dims: Number of dimensions of the features: 1, or 3 for images, which are joined along their channels.

    Returns:
        On call with ``[*lead, *A]`` and ``[*lead, *B]``: what :math:`f` makes of ``[*lead, F]``, or ``[*lead, F, H, W]``.
    """

    def __init__(
        self,
        first: nn.Module | None = None,
        second: nn.Module | None = None,
        network: nn.Module | None = None,
        *,
        event_dims: int = 1,
    ) -> None:
        super().__init__()
        self.first, self.second, self.network = first or nn.Identity(), second or nn.Identity(), network or nn.Identity()
        self.event_dims = event_dims

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        features = self.first(a), self.second(b)
        lead = torch.broadcast_shapes(*(t.shape[: -self.event_dims] for t in features))
        expanded = [t.expand(*lead, *t.shape[-self.event_dims :]) for t in features]
        return self.network(torch.cat(expanded, -self.event_dims))


def set_output_bias_(network: nn.Module, bias: Tensor) -> None:
    r"""Set the bias of the last layer that has one, in place.

    A decoder whose output bias starts at the data's mean logit need not spend its first epochs learning it:

    .. math:: b = \log \bar{x} - \log(1 - \bar{x})

    Args:
        network: A network whose last layer with a bias gives its output.
        bias: The bias, with as many elements as that layer's, e.g. ``[*X]``.

    Raises:
        ValueError: If no layer has a bias, or its number of elements differs.
    """
    biases = [m.bias for m in network.modules() if isinstance(getattr(m, "bias", None), Tensor)]
    if not biases or biases[-1].numel() != bias.numel():
        expected = f"{biases[-1].numel()} elements" if biases else "a layer with a bias"
        raise ValueError(
            f"set_output_bias_ expects {expected} in the network's last layer; got a bias of shape "
            f"{tuple(bias.shape)}. Give one number per output of the network."
        )
    with torch.no_grad():
        biases[-1].copy_(bias.reshape(biases[-1].shape))


def he_normal_(module: nn.Module) -> None:
    r"""Start the hidden layers of all networks in a module with He's variance and no bias, in place; their last layers stay as they are.

    .. math:: W_{ij} \sim \mathcal N(0, 2 / n), \quad b = 0

    for n inputs. Torch's own start, of variance :math:`1 / 3n`, lets a signal fade with every layer: through a gate, which halves it, to a quarter.

    Args:
        module: A network, or a model made of some.

    References:
        He, Zhang, Ren, Sun (2015), Delving Deep into Rectifiers. https://arxiv.org/abs/1502.01852
    """
    for network in (part for part in module.modules() if isinstance(part, Network)):
        for layer in [part for part in network.modules() if isinstance(part, nn.Linear)][:-1]:
            nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_features))
            nn.init.zeros_(layer.bias)


class _OutputBias(nn.Module):
    r"""Move the ``P`` parameters of each element last and add their biases."""

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(1, (self.bias.shape[0], self.bias.shape[-1]))  # [N, channels, P, height, width]
        return x.movedim(2, -1) + self.bias  # [N, channels, height, width, P]


def _perceptron(
    in_shape: Shape, hidden: Shape, out_shape: Shape, hidden_layer: Callable[[int, int], Iterable[nn.Module]]
) -> nn.Sequential:
    widths = (_shape(in_shape, "in_shape").numel(), *_shape(hidden, "hidden"))
    layers = [part for n, m in zip(widths, widths[1:]) for part in hidden_layer(n, m)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], _shape(out_shape, "out_shape").numel()))


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
        raise ValueError(
            f"channels must have 1 to {most} entries, for so often can {height} by {width} be halved; "
            f"got {len(channels)}."
        )
    return [(height >> i, width >> i) for i in range(len(channels) + 1)]


def _shape(shape: Shape, name: str) -> Size:
    sizes = Size([shape] if isinstance(shape, int) else shape)
    if any(size < 1 for size in sizes):
        raise ValueError(f"{name} must hold positive sizes; got {shape}.")
    return sizes


def _reshaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Of this shape; without a view, which costs an eager step two operations, of what has it."""
    return x if x.shape == shape else x.reshape(shape)
