"""Models of discrete codes by name."""

from collections.abc import Callable, Sequence
from functools import partial
import math

import torch
from torch import Size, Tensor, nn

from inference.options import ModelOptions, Shape
from inference.recipe_parts import LIKELIHOODS, NETWORKS, MakeNetwork, decoder_hidden, encoder_network, inputs_of, num_categories
from pyro_lvm.code_priors import CategoricalCodePrior, PixelCNNPrior, TransformerPrior, UniformCodePrior
from pyro_lvm.fsq import FSQ
from pyro_lvm.grids import GridDecoder, GridEncoder, SequenceDecoder, SequenceEncoder
from pyro_lvm.quantization import VectorQuantizer, rotated, straight_through
from pyro_lvm.relaxed import GumbelEncoder, StraightThroughEncoder
from pyro_lvm.vqvae import VQVAE

_START_ROWS = 5_000  # that k-means sees


def build_coded(options: ModelOptions, train: Tensor) -> VQVAE:
    """A VQVAE by name, its output biases and noise scales started from the data.

    Raises:
        ValueError: If the prior is none of codes, or the grid does not fit the data.
    """
    if options.prior not in CODE_PRIORS:
        raise ValueError(f"encoder {options.encoder!r} needs a prior of codes; got {options.prior!r}. Choose model.prior {', '.join(CODE_PRIORS)}.")
    encoder, shape = CODE_ENCODERS[options.encoder](options, train)
    likelihood = LIKELIHOODS[options.likelihood](options, partial(_decoder(options, train), shape), train)
    return VQVAE(CODE_PRIORS[options.prior](encoder.code_shape, encoder.num_codes), likelihood, encoder)


def start_codebook(vae: nn.Module, train: Tensor, *, seed: int) -> None:
    """Starts a learned codebook at the centers that k-means finds; leaves other models as they are."""
    encoder = getattr(vae, "encoder", None)
    if isinstance(encoder, VectorQuantizer):
        rows = torch.randperm(len(train))[: max(_START_ROWS, math.ceil(encoder.num_codes / encoder.out_shape[:-1].numel()))]
        encoder.start_(train[rows], seed=seed)


def autoregressive_prior(shape: Sequence[int], num_codes: int) -> PixelCNNPrior | TransformerPrior:
    """Masked convolutions for a grid of codes, a causal transformer for codes of any other shape."""
    return (PixelCNNPrior if len(shape) == 2 else TransformerPrior)(shape, num_codes)


def _grid(options: ModelOptions, train: Tensor, vector_dim: int) -> tuple[nn.Module, Size]:
    """A network from data to a grid of vectors, and the grid's shape ``[*S, d]``."""
    if options.network != "conv":
        shape = Size((options.num_slots, vector_dim))
        return encoder_network(options, train, shape), shape
    if _is_sequence(options, train):
        network = SequenceEncoder(train.shape[1], num_categories(train), options.hidden, vector_dim)
        return network, network.out_shape
    inputs, shape = inputs_of(options, train)
    network = GridEncoder(shape, options.hidden, vector_dim)
    return network if inputs is None else nn.Sequential(inputs, network), network.out_shape


def _decoder(options: ModelOptions, train: Tensor) -> MakeNetwork:
    """What makes a network of the shapes of code vectors and of data."""
    if options.network != "conv":
        return lambda in_shape, out_shape: NETWORKS[options.network][1](in_shape, decoder_hidden(options), out_shape)
    make = SequenceDecoder if _is_sequence(options, train) else GridDecoder
    return lambda in_shape, out_shape: make(in_shape, decoder_hidden(options), out_shape)


def _is_sequence(options: ModelOptions, train: Tensor) -> bool:
    return options.likelihood == "categorical" and train.dim() == 2


def _vq(options: ModelOptions, train: Tensor) -> tuple[VectorQuantizer, Size]:
    network, shape = _grid(options, train, options.latent_dim)
    encoder = VectorQuantizer(
        network,
        options.num_codes,
        out_shape=shape,
        num_groups=options.num_groups,
        decay={"averages": 0.99, "gradient": None}[options.codebook],
        pass_gradient=_GRADIENTS[options.code_gradient],
    )
    return encoder, shape


def _fsq(options: ModelOptions, train: Tensor) -> tuple[FSQ, Size]:
    network, shape = _grid(options, train, len(options.fsq_levels))
    return FSQ(network, options.fsq_levels, out_shape=shape, pass_gradient=_GRADIENTS[options.code_gradient]), shape


def _relaxed(make: Callable[..., nn.Module], options: ModelOptions, train: Tensor) -> tuple[nn.Module, Size]:
    network, shape = _grid(options, train, options.num_codes)
    return make(network, options.latent_dim, out_shape=shape), shape[:-1] + (options.latent_dim,)


def _gumbel(options: ModelOptions, train: Tensor) -> tuple[nn.Module, Size]:
    return _relaxed(partial(GumbelEncoder, temperature=options.gumbel_temperature), options, train)


_GRADIENTS = {"straight-through": straight_through, "rotation": rotated}
CODE_PRIORS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "uniform": UniformCodePrior,
    "independent": CategoricalCodePrior,
    "autoregressive": autoregressive_prior,
}
CODE_ENCODERS: dict[str, Callable[[ModelOptions, Tensor], tuple[nn.Module, Size]]] = {  # a guide, and the shape of its code vectors
    "vq": _vq,
    "fsq": _fsq,
    "straight-through": partial(_relaxed, StraightThroughEncoder),
    "gumbel": _gumbel,
}
