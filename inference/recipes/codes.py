"""Guides and priors of discrete codes by name."""

from collections.abc import Callable, Sequence
from functools import partial
import math

import torch
from torch import Size, Tensor, nn

from inference.recipes.sizes import Sizes
from pyro_lvm.encoders.codebook import VectorQuantizer
from pyro_lvm.encoders.fsq import FSQ
from pyro_lvm.encoders.gradients import rotated, straight_through
from pyro_lvm.encoders.relaxed import GumbelEncoder, StraightThroughEncoder
from pyro_lvm.priors.autoregressive import PixelCNNPrior, TransformerPrior
from pyro_lvm.priors.codes import CategoricalCodePrior, UniformCodePrior

MakeGrid = Callable[[int], tuple[nn.Module, Size]]  # from the features of a vector to a network, and the shape [*S, d] of its output

_START_ROWS = 5_000  # that k-means sees


def start_codebook(vae: nn.Module, train: Tensor, *, seed: int) -> None:
    """Starts a learned codebook at the centers that k-means finds; leaves other models as they are."""
    encoder = getattr(vae, "encoder", None)
    if isinstance(encoder, VectorQuantizer):
        rows = torch.randperm(len(train))[: max(_START_ROWS, math.ceil(encoder.num_codes / encoder.out_shape[:-1].numel()))]
        encoder.start_(train[rows], seed=seed)


def autoregressive_prior(shape: Sequence[int], num_codes: int) -> PixelCNNPrior | TransformerPrior:
    """Masked convolutions for a grid of codes, a causal transformer for codes of any other shape."""
    return (PixelCNNPrior if len(shape) == 2 else TransformerPrior)(shape, num_codes)


def _vq(sizes: Sizes, grid: MakeGrid) -> tuple[VectorQuantizer, Size]:
    network, shape = grid(sizes.latent_dim)
    encoder = VectorQuantizer(
        network,
        sizes.num_codes,
        out_shape=shape,
        num_groups=sizes.num_groups,
        decay={"averages": 0.99, "gradient": None}[sizes.codebook],
        pass_gradient=_GRADIENTS[sizes.code_gradient],
    )
    return encoder, shape


def _fsq(sizes: Sizes, grid: MakeGrid) -> tuple[FSQ, Size]:
    network, shape = grid(len(sizes.fsq_levels))
    return FSQ(network, sizes.fsq_levels, out_shape=shape, pass_gradient=_GRADIENTS[sizes.code_gradient]), shape


def _relaxed(make: Callable[..., nn.Module], sizes: Sizes, grid: MakeGrid) -> tuple[nn.Module, Size]:
    network, shape = grid(sizes.num_codes)
    return make(network, sizes.latent_dim, out_shape=shape), shape[:-1] + (sizes.latent_dim,)


def _gumbel(sizes: Sizes, grid: MakeGrid) -> tuple[nn.Module, Size]:
    return _relaxed(partial(GumbelEncoder, temperature=sizes.gumbel_temperature), sizes, grid)


_GRADIENTS = {"straight-through": straight_through, "rotation": rotated}
CODE_PRIORS: dict[str, Callable[[Sequence[int], int], nn.Module]] = {  # from the shape of the slots and the number of codes
    "uniform": UniformCodePrior,
    "independent": CategoricalCodePrior,
    "autoregressive": autoregressive_prior,
}
CODE_ENCODERS: dict[str, Callable[[Sizes, MakeGrid], tuple[nn.Module, Size]]] = {  # a guide, and the shape of its code vectors
    "vq": _vq,
    "fsq": _fsq,
    "straight-through": partial(_relaxed, StraightThroughEncoder),
    "gumbel": _gumbel,
}
