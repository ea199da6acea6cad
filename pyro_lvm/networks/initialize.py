"""Initialization of networks."""

from __future__ import annotations

from collections.abc import Iterator
import math

import torch
from torch import Tensor, nn

from pyro_lvm.networks.network import Network


def set_output_bias_(network: nn.Module, bias: Tensor) -> None:
    r"""Set the bias of the last layer that has one, in place.

    A decoder whose output bias is initialized at the logit of the data's mean need not spend its first epochs learning it:

    .. math:: b = \log \bar{x} - \log(1 - \bar{x})

    Args:
        network: Network whose last layer with a bias gives its output.
        bias: New bias, with as many elements as that layer's, e.g. ``[*X]``.

    Raises:
        ValueError: If no layer has a bias, or the number of elements differs.
    """
    found = (getattr(module, "bias", None) for module in network.modules())
    biases = [own for own in found if isinstance(own, Tensor)]
    if not biases or biases[-1].numel() != bias.numel():
        expected = f"{biases[-1].numel()} elements" if biases else "a layer with a bias"
        raise ValueError(
            f"set_output_bias_ expects {expected} in the network's last layer; got a bias of shape "
            f"{tuple(bias.shape)}. Give one number per output of the network."
        )
    with torch.no_grad():
        biases[-1].copy_(bias.reshape(biases[-1].shape))


def he_normal_(module: nn.Module) -> None:
    r"""Initialize the hidden linear layers of all networks in a module with He's variance and zero bias, in place.

    .. math:: W_{ij} \sim \mathcal N(0, 2 / n), \quad b = 0

    for n inputs. With torch's default initialization, of variance :math:`1 / 3n`, a signal fades with every layer: in a gated layer,
    whose gate halves it, to a quarter. The last linear layer of each network and all convolutions are unchanged.

    Args:
        module: Network, or a model that contains networks.

    References:
        He, Zhang, Ren, Sun (2015), Delving Deep into Rectifiers. https://arxiv.org/abs/1502.01852
    """
    for *hidden, _ in _linear_layers(module):
        for layer in hidden:
            nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_features))
            nn.init.zeros_(layer.bias)


def glorot_uniform_(module: nn.Module) -> None:
    r"""Initialize the linear layers of all networks in a module with Glorot's variance and zero bias, in place.

    .. math:: W_{ij} \sim \mathcal U(-a, a), \quad a = \sqrt{6 / (n + m)}, \quad b = 0

    for n inputs and m outputs, which keeps the signal through layers with hyperbolic tangents. The bias of the last linear layer of each
    network, which may hold the data's mean, and all convolutions are unchanged.

    Args:
        module: Network, or a model that contains networks.

    References:
        Glorot, Bengio (2010), Understanding the difficulty of training deep feedforward neural networks.
        https://proceedings.mlr.press/v9/glorot10a.html
    """
    for *hidden, last in _linear_layers(module):
        for layer in hidden:
            nn.init.zeros_(layer.bias)
        for layer in (*hidden, last):
            nn.init.xavier_uniform_(layer.weight)


def _linear_layers(module: nn.Module) -> Iterator[list[nn.Linear]]:
    """Yield the linear layers of each network in a module that has some."""
    for network in (part for part in module.modules() if isinstance(part, Network)):
        layers = [part for part in network.modules() if isinstance(part, nn.Linear)]
        if layers:
            yield layers
