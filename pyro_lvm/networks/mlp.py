"""Multilayer perceptrons."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from torch import nn

from pyro_lvm.networks.network import Network, Shape, as_shape


class MLP(Network):
    r"""Multilayer perceptron: affine layers with an activation between them.

    .. math:: h_0 = x, \quad h_l = \sigma(W_l h_{l-1} + b_l), \quad y = W_{L+1} h_L + b_{L+1}

    Args:
        in_shape: Number of features of one input, or its shape; the input is flattened.
        hidden: Widths of the hidden layers; with an empty sequence, the network is one affine map.
        out_shape: Number of features of one output, or its shape.
        activation: Callable that makes the activation module, e.g. ``nn.ReLU``.

    Returns:
        On call with ``[*lead, *in_shape]``: a tensor ``[*lead, *out_shape]``.

    Raises:
        ValueError: If a size is not positive, or an input does not end in ``in_shape``.
    """

    def __init__(self, in_shape: Shape, hidden: Shape, out_shape: Shape, activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        layers = _perceptron(in_shape, hidden, out_shape, lambda n, m: (nn.Linear(n, m), activation()))
        super().__init__(layers, in_shape, as_shape(in_shape, "in_shape").numel(), out_shape)


class GatedMLP(Network):
    r"""Multilayer perceptron with gated linear units.

    .. math:: h_l = (W_l h_{l-1} + b_l) \odot \sigma(V_l h_{l-1} + c_l), \quad y = W_{L+1} h_L + b_{L+1}

    Args:
        in_shape: Number of features of one input, or its shape; the input is flattened.
        hidden: Widths of the hidden layers; with an empty sequence, the network is one affine map.
        out_shape: Number of features of one output, or its shape.

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
        super().__init__(layers, in_shape, as_shape(in_shape, "in_shape").numel(), out_shape)


def _perceptron(in_shape: Shape, hidden: Shape, out_shape: Shape, hidden_layer: Callable[[int, int], Iterable[nn.Module]]) -> nn.Sequential:
    widths = (as_shape(in_shape, "in_shape").numel(), *as_shape(hidden, "hidden"))
    layers = [part for n, m in pairwise(widths) for part in hidden_layer(n, m)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], as_shape(out_shape, "out_shape").numel()))
