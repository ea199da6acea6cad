"""Networks and initializations of their weights, by name."""

from functools import partial
from typing import TYPE_CHECKING, Literal

from inference.recipes.registries import INITS, NETWORKS
from inference.recipes.sizes import MakeNetwork
import pyro_lvm as lvm

if TYPE_CHECKING:
    from torch import nn


@NETWORKS.register("mlp")
def _mlp(*, activation: Literal["relu", "tanh", "silu"] = "relu") -> tuple[MakeNetwork, MakeNetwork]:
    """Build perceptrons.

    Args:
        activation: Activation between the layers of perceptrons.
    """
    from torch import nn

    make = partial(lvm.MLP, activation={"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}[activation])
    return make, make


@NETWORKS.register("gated")
def _gated() -> tuple[MakeNetwork, MakeNetwork]:
    return lvm.GatedMLP, lvm.GatedMLP


@NETWORKS.register("conv", is_conv=True)
def _conv() -> tuple[MakeNetwork, MakeNetwork]:
    return lvm.ConvEncoder, lvm.ConvDecoder


@INITS.register("torch")
def _torch(pair: "nn.Module") -> None:
    """Leave the weights as torch initializes them."""


@INITS.register("he")
def _he(pair: "nn.Module") -> None:
    lvm.he_normal_(pair)


@INITS.register("glorot")
def _glorot(pair: "nn.Module") -> None:
    lvm.glorot_uniform_(pair)
