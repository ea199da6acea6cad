"""Guides of discrete codes by name."""

import math
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse.typing import PositiveFloat, PositiveInt

from inference.recipes.registries import CODES, ENCODERS
from inference.recipes.sizes import Counts, MakeGrid
import pyro_lvm as lvm

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyro_lvm.encoders.gradients import PassGradient

_START_ROWS = 5_000  # for k-means
_Gradient = Literal["straight-through", "rotation"]


def start_codebook(pair: "nn.Module", train: "Tensor", *, seed: int) -> None:
    """Initialize a learned codebook at the centers that k-means finds, and leave other models unchanged."""
    import torch

    encoder: Any = getattr(pair, "encoder", None)
    if hasattr(encoder, "start_"):
        rows = torch.randperm(len(train))[: max(_START_ROWS, math.ceil(encoder.num_codes / encoder.out_shape[:-1].numel()))]
        encoder.start_(train[rows], seed=seed)


@ENCODERS.register("vq", latents=CODES)
def _vq(
    grid: MakeGrid,
    *,
    latent_dim: PositiveInt = 8,
    num_codes: PositiveInt = 256,
    num_slots: PositiveInt = 16,
    num_groups: PositiveInt = 1,
    codebook: Literal["averages", "gradient"] = "averages",
    code_gradient: _Gradient = "straight-through",
) -> "nn.Module":
    """Build a guide that takes the nearest vectors of a learned codebook.

    Args:
        num_codes: Number of codes in a codebook; for fsq, it is the product of the levels.
        num_slots: Codes per datum, for mlp and gated networks; for conv, they form the grid left after one halving per entry of ``hidden``.
        num_groups: Number of codebooks whose product vq uses; each encodes a part of every vector.
        codebook: How the codebook of vq is updated.
        code_gradient: How the gradient passes through the rounding of vq and fsq.
    """
    network, shape = grid(latent_dim, num_slots)
    return lvm.VectorQuantizer(
        network,
        num_codes,
        out_shape=shape,
        num_groups=num_groups,
        decay={"averages": 0.99, "gradient": None}[codebook],
        pass_gradient=_gradient(code_gradient),
    )


@ENCODERS.register("fsq", latents=CODES)
def _fsq(
    grid: MakeGrid, *, num_slots: PositiveInt = 16, fsq_levels: Counts = (8, 6, 5), code_gradient: _Gradient = "straight-through"
) -> "nn.Module":
    """Build a guide that rounds features.

    Args:
        fsq_levels: Levels of each feature of a vector, for fsq.
    """
    network, shape = grid(len(fsq_levels), num_slots)
    return lvm.FSQ(network, fsq_levels, out_shape=shape, pass_gradient=_gradient(code_gradient))


@ENCODERS.register("straight-through", latents=CODES)
def _straight_through(
    grid: MakeGrid, *, latent_dim: PositiveInt = 8, num_codes: PositiveInt = 256, num_slots: PositiveInt = 16
) -> "nn.Module":
    network, shape = grid(num_codes, num_slots)
    return lvm.StraightThroughEncoder(network, latent_dim, out_shape=shape)


@ENCODERS.register("gumbel", latents=CODES)
def _gumbel(
    grid: MakeGrid,
    *,
    latent_dim: PositiveInt = 8,
    num_codes: PositiveInt = 256,
    num_slots: PositiveInt = 16,
    gumbel_temperature: PositiveFloat = 0.67,
) -> "nn.Module":
    """Build a guide with a Gumbel-softmax relaxation.

    Args:
        gumbel_temperature: Temperature of the relaxation, for gumbel.
    """
    network, shape = grid(num_codes, num_slots)
    return lvm.GumbelEncoder(network, latent_dim, out_shape=shape, temperature=gumbel_temperature)


def _gradient(name: str) -> "PassGradient":
    return {"straight-through": lvm.straight_through, "rotation": lvm.rotated}[name]
