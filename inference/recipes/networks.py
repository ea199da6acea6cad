"""Networks by name, and where their training starts."""

from collections.abc import Callable

from torch import nn

from inference.recipes.sizes import MakeNetwork
from pyro_lvm.networks.conv import ConvDecoder, ConvEncoder
from pyro_lvm.networks.initialize import he_normal_
from pyro_lvm.networks.mlp import MLP, GatedMLP

NETWORKS: dict[str, tuple[MakeNetwork, MakeNetwork]] = {  # of the encoder and of the decoder
    "mlp": (MLP, MLP),
    "gated": (GatedMLP, GatedMLP),
    "conv": (ConvEncoder, ConvDecoder),
}
INITS: dict[str, Callable[[nn.Module], None]] = {"torch": lambda vae: None, "he": he_normal_}
