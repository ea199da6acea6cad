"""Networks and initializations of their weights, by name."""

from collections.abc import Callable

from torch import nn

from inference.recipes.sizes import MakeNetwork
import pyro_lvm as lvm

NETWORKS: dict[str, tuple[MakeNetwork, MakeNetwork]] = {  # for the encoder and for the decoder
    "mlp": (lvm.MLP, lvm.MLP),
    "gated": (lvm.GatedMLP, lvm.GatedMLP),
    "conv": (lvm.ConvEncoder, lvm.ConvDecoder),
}
INITS: dict[str, Callable[[nn.Module], None]] = {"torch": lambda vae: None, "he": lvm.he_normal_}
