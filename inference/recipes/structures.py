"""Models by name: one level of latents, several, or discrete codes, built from named parts."""

from collections.abc import Callable
from functools import partial

from torch import Size, Tensor, nn

from inference.recipes.codes import CODE_ENCODERS, CODE_PRIORS
from inference.recipes.encoders import ENCODERS
from inference.recipes.likelihoods import LIKELIHOODS, num_categories
from inference.recipes.networks import NETWORKS
from inference.recipes.options import ModelOptions
from inference.recipes.priors import PRIORS
from inference.recipes.sizes import Counts, MakeNetwork
from pyro_lvm.models.hierarchical import HierarchicalVAE
from pyro_lvm.models.levels import Levels, conv_ladder, ladder, stacked
from pyro_lvm.models.vae import VAE, TwoStageVAE
from pyro_lvm.models.vqvae import VQVAE
from pyro_lvm.networks.conv import ConvDecoder
from pyro_lvm.networks.grids import GridDecoder, GridEncoder, SequenceDecoder, SequenceEncoder
from pyro_lvm.networks.inputs import OneHot, Standardize

AnyVAE = VAE | HierarchicalVAE | VQVAE | TwoStageVAE
MakeLevels = Callable[[ModelOptions, nn.Module | None, Counts], tuple[Levels, MakeNetwork]]


def _flat(options: ModelOptions, train: Tensor) -> VAE | VQVAE:
    if options.encoder in CODE_ENCODERS:
        return _coded(options, train)
    encoder = ENCODERS[options.encoder](options, partial(_encoder_network, options, train))
    network = partial(NETWORKS[options.network][1], options.latent_dim, _decoder_hidden(options))
    likelihood = LIKELIHOODS[options.likelihood](options, network, train)
    return VAE(PRIORS[options.prior](options, encoder, train), likelihood, encoder)


def _hierarchy(make_levels: MakeLevels, options: ModelOptions, train: Tensor) -> HierarchicalVAE:
    levels, network = make_levels(options, *_inputs_of(options, train))
    likelihood = LIKELIHOODS[options.likelihood](options, network, train)
    return HierarchicalVAE(PRIORS[options.prior](options, levels.top(), train), levels, likelihood)


def _stacked(options: ModelOptions, inputs: nn.Module | None, shape: Counts) -> tuple[Levels, MakeNetwork]:
    make, dims = NETWORKS[options.network][0], [options.latent_dim] * options.levels
    levels = stacked(shape, dims, options.hidden, network=make, inputs=inputs)
    return levels, partial(make, sum(dims), _decoder_hidden(options))


def _ladder(options: ModelOptions, inputs: nn.Module | None, shape: Counts) -> tuple[Levels, MakeNetwork]:
    if options.network == "conv":
        return _conv_ladder(options, inputs, shape)
    make, dims = NETWORKS[options.network][0], [options.latent_dim] * options.levels
    levels = ladder(shape, dims, options.hidden, network=make, inputs=inputs)
    return levels, partial(make, options.hidden[-1], _decoder_hidden(options))


def _conv_ladder(options: ModelOptions, inputs: nn.Module | None, shape: Counts) -> tuple[Levels, MakeNetwork]:
    channels = options.hidden
    levels = conv_ladder(shape, options.latent_dim, channels, latent_channels=options.latent_channels, inputs=inputs)
    state = (channels[0], shape[-2] // 2, shape[-1] // 2)
    return levels, partial(ConvDecoder, state, options.decoder_hidden or channels[:1])


def _coded(options: ModelOptions, train: Tensor) -> VQVAE:
    """Build a VQVAE from options, with output biases and noise scales initialized from the data."""
    encoder, shape = CODE_ENCODERS[options.encoder](options, partial(_grid, options, train))
    likelihood = LIKELIHOODS[options.likelihood](options, partial(_decoder(options, train), shape), train)
    return VQVAE(CODE_PRIORS[options.prior](encoder.code_shape, encoder.num_codes), likelihood, encoder)


def _grid(options: ModelOptions, train: Tensor, vector_dim: int) -> tuple[nn.Module, Size]:
    """A network from data to a grid of vectors, and the grid's shape ``[*S, d]``."""
    if options.network != "conv":
        shape = Size((options.num_slots, vector_dim))
        return _encoder_network(options, train, shape), shape
    if _is_sequence(options, train):
        sequence = SequenceEncoder(train.shape[1], num_categories(train), options.hidden, vector_dim)
        return sequence, sequence.out_shape
    inputs, in_shape = _inputs_of(options, train)
    network = GridEncoder(in_shape, options.hidden, vector_dim)
    return network if inputs is None else nn.Sequential(inputs, network), network.out_shape


def _decoder(options: ModelOptions, train: Tensor) -> MakeNetwork:
    """A function that makes a network from the shapes of code vectors and of data."""
    if options.network != "conv":
        return lambda in_shape, out_shape: NETWORKS[options.network][1](in_shape, _decoder_hidden(options), out_shape)
    make = SequenceDecoder if _is_sequence(options, train) else GridDecoder
    return lambda in_shape, out_shape: make(in_shape, _decoder_hidden(options), out_shape)


def _is_sequence(options: ModelOptions, train: Tensor) -> bool:
    return options.likelihood == "categorical" and train.dim() == 2


def _encoder_network(options: ModelOptions, train: Tensor, out_shape: int | Counts) -> nn.Module:
    """The network of an encoder, from raw data to ``out_shape``."""
    inputs, shape = _inputs_of(options, train)
    network = NETWORKS[options.network][0](shape, options.hidden, out_shape)
    return network if inputs is None else nn.Sequential(inputs, network)


def _decoder_hidden(options: ModelOptions) -> Counts:
    """The decoder's hidden widths or channels, starting at the latents."""
    return options.decoder_hidden or options.hidden[::-1]


def _inputs_of(options: ModelOptions, train: Tensor) -> tuple[nn.Module | None, Counts]:
    """The layer that prepares data for the network, or None, and the shape of the data after it."""
    shape = _checked_shape(options, train.shape[1:])
    if options.likelihood == "categorical":
        V = num_categories(train)
        return OneHot(V, len(shape)), (V * shape[0], *shape[1:])
    is_unit = train.min() >= 0 and train.max() <= 1
    return None if is_unit else Standardize(train), shape


def _checked_shape(options: ModelOptions, shape: Counts) -> Counts:
    if options.network == "conv" and len(shape) != 3:
        raise ValueError(
            f"the conv network needs data of shape [channels, height, width]; got {tuple(shape)}. Give data.shape, such as [1,28,28]."
        )
    return shape


STRUCTURES: dict[str, Callable[[ModelOptions, Tensor], AnyVAE]] = {
    "flat": _flat,
    "stacked": partial(_hierarchy, _stacked),
    "ladder": partial(_hierarchy, _ladder),
}
