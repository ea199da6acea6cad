"""Networks and initializations of their weights, by name."""

from typing import TYPE_CHECKING

from inference.recipes.registries import INITS, NETWORKS
from inference.recipes.sizes import MakeNetwork
import pyro_lvm as lvm

if TYPE_CHECKING:
    from torch import nn


@NETWORKS.register("mlp")
def _mlp() -> tuple[MakeNetwork, MakeNetwork]:
    return lvm.MLP, lvm.MLP


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
