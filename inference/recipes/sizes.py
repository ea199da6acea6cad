"""Sizes and other options of a model's parts, which need no registry of names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jsonargparse.typing import PositiveFloat, PositiveInt

if TYPE_CHECKING:
    from torch import nn

Counts = tuple[PositiveInt, ...]
MakeNetwork = Callable[..., "nn.Module"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model's parts.

    Args:
        levels: Number of levels of a stacked or ladder structure.
        latent_dim: Number of latent features of each level, or of a code vector.
        latent_channels: Channels of the latent images of a conv ladder.
        hidden: Widths of the encoder's hidden layers, or channels for conv.
        decoder_hidden: Those of the decoder, starting at the latents; by default ``hidden`` in reverse.
        num_components: Components of the mixture prior, or pseudo-inputs of the vamp prior.
        flow_transforms: Steps of a flow, in the prior or in the encoder.
        flow_hidden: Widths of the hidden layers of each step of a flow.
        flow_context: Features of x that condition a flow in the encoder.
        num_codes: Number of codes in a codebook; for fsq, it is the product of the levels.
        num_slots: Codes per datum, for mlp and gated networks; for conv, they form the grid left after one halving per entry of ``hidden``.
        num_groups: Number of codebooks whose product vq uses; each encodes a part of every vector.
        fsq_levels: Levels of each feature of a vector, for fsq; latent_dim has no effect.
        codebook: How the codebook of vq is updated.
        code_gradient: How the gradient passes through the rounding of vq and fsq.
        gumbel_temperature: Temperature of the relaxation, for gumbel.
        logistic_components: Logistics in the mixture of each pixel, for discretized-logistic.
        feature_noise: Learn a noise scale (gaussian, student-t) or dispersion (negative-binomial) for each
            feature instead of one for all.
        seed: Seed of the initial weights and of the choice of pseudo-inputs.
    """

    levels: PositiveInt = 2
    latent_dim: PositiveInt = 8
    latent_channels: PositiveInt = 2
    hidden: Counts = (256,)
    decoder_hidden: Counts | None = None
    num_components: PositiveInt = 50
    flow_transforms: PositiveInt = 2
    flow_hidden: Counts = (64, 64)
    flow_context: PositiveInt = 32
    num_codes: PositiveInt = 256
    num_slots: PositiveInt = 16
    num_groups: PositiveInt = 1
    fsq_levels: Counts = (8, 6, 5)
    codebook: Literal["averages", "gradient"] = "averages"
    code_gradient: Literal["straight-through", "rotation"] = "straight-through"
    gumbel_temperature: PositiveFloat = 0.67
    logistic_components: PositiveInt = 1
    feature_noise: bool = False
    seed: int = 0
