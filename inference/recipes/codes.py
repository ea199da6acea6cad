"""Guides and priors of discrete codes by name."""

from collections.abc import Callable, Sequence
from functools import partial
import math

import torch
from torch import Size, Tensor, nn

from inference.recipes.sizes import Sizes
import pyro_lvm as lvm

CodeGuide = lvm.Quantizer | lvm.StraightThroughEncoder
MakeGrid = Callable[[int], tuple[nn.Module, Size]]  # from the size d of a vector to a network and its output shape [*S, d]

_START_ROWS = 5_000  # for k-means


def start_codebook(vae: nn.Module, train: Tensor, *, seed: int) -> None:
    """Initialize a learned codebook at the centers that k-means finds, and leave other models unchanged."""
    encoder = getattr(vae, "encoder", None)
    if isinstance(encoder, lvm.VectorQuantizer):
        rows = torch.randperm(len(train))[: max(_START_ROWS, math.ceil(encoder.num_codes / encoder.out_shape[:-1].numel()))]
        encoder.start_(train[rows], seed=seed)


def autoregressive_prior(shape: Sequence[int], num_codes: int) -> lvm.PixelCNNPrior | lvm.TransformerPrior:
    """An autoregressive prior: masked convolutions for a grid of codes, a causal transformer for codes of any other shape."""
    return (lvm.PixelCNNPrior if len(shape) == 2 else lvm.TransformerPrior)(shape, num_codes)


def _vq(sizes: Sizes, grid: MakeGrid) -> tuple[lvm.VectorQuantizer, Size]:
    network, shape = grid(sizes.latent_dim)
    encoder = lvm.VectorQuantizer(
        network,
        sizes.num_codes,
        out_shape=shape,
        num_groups=sizes.num_groups,
        decay={"averages": 0.99, "gradient": None}[sizes.codebook],
        pass_gradient=_GRADIENTS[sizes.code_gradient],
    )
    return encoder, shape


def _fsq(sizes: Sizes, grid: MakeGrid) -> tuple[lvm.FSQ, Size]:
    network, shape = grid(len(sizes.fsq_levels))
    return lvm.FSQ(network, sizes.fsq_levels, out_shape=shape, pass_gradient=_GRADIENTS[sizes.code_gradient]), shape


def _relaxed(make: Callable[..., lvm.StraightThroughEncoder], sizes: Sizes, grid: MakeGrid) -> tuple[lvm.StraightThroughEncoder, Size]:
    network, shape = grid(sizes.num_codes)
    return make(network, sizes.latent_dim, out_shape=shape), shape[:-1] + (sizes.latent_dim,)


def _gumbel(sizes: Sizes, grid: MakeGrid) -> tuple[lvm.StraightThroughEncoder, Size]:
    return _relaxed(partial(lvm.GumbelEncoder, temperature=sizes.gumbel_temperature), sizes, grid)


_GRADIENTS = {"straight-through": lvm.straight_through, "rotation": lvm.rotated}
CODE_PRIORS: dict[str, Callable[[Sequence[int], int], nn.Module]] = {  # from the shape of the slots and the number of codes
    "uniform": lvm.UniformCodePrior,
    "independent": lvm.CategoricalCodePrior,
    "autoregressive": autoregressive_prior,
}
CODE_ENCODERS: dict[str, Callable[[Sizes, MakeGrid], tuple[CodeGuide, Size]]] = {  # a guide, and the shape of its code vectors
    "vq": _vq,
    "fsq": _fsq,
    "straight-through": partial(_relaxed, lvm.StraightThroughEncoder),
    "gumbel": _gumbel,
}
