"""Models by name: one level of latents, several, discrete codes, or data with labels, built from named parts."""

from functools import partial
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import PositiveFloat, PositiveInt

from inference.recipes.parts.conditions import condition_features, decoder_given, network_given
from inference.recipes.parts.maker import Parts
from inference.recipes.registries import CODES, CONDITIONS, ENCODERS, LABEL, STRUCTURES
from inference.recipes.sizes import Counts, MakeNetwork
import pyro_lvm as lvm

if TYPE_CHECKING:
    from torch import Size, nn


@STRUCTURES.register("flat", is_flat=True)
def _flat(parts: Parts, *, latent_dim: PositiveInt = 8, hidden: Counts = (256,), decoder_hidden: Counts | None = None) -> "nn.Module":
    """Build a model with one level of latents.

    Args:
        latent_dim: Number of latent features of each level, or of a code vector.
        hidden: Widths of the encoder's hidden layers, or channels for conv.
        decoder_hidden: Those of the decoder, starting at the latents; by default ``hidden`` in reverse.
    """
    encoder, widths = parts.encoder(hidden), decoder_hidden or hidden[::-1]
    if ENCODERS[parts.options["encoder"]].facts["latents"] == CODES:
        likelihood = parts.likelihood(partial(_code_decoder(parts), _vector_shape(parts, encoder), widths))
        return lvm.VQVAE(parts.prior(encoder), likelihood, encoder)
    likelihood = parts.likelihood(partial(parts.networks[1], latent_dim, widths))
    return lvm.VAE(parts.prior(encoder), likelihood, encoder)


def _code_decoder(parts: Parts) -> MakeNetwork:
    if not parts.is_conv:
        return parts.networks[1]
    return lvm.SequenceDecoder if parts.is_sequence else lvm.GridDecoder


def _vector_shape(parts: Parts, encoder: Any) -> "Size":
    """The shape ``[*S, d]`` of the code vectors of a datum."""
    import torch

    with torch.random.fork_rng(), torch.no_grad():
        return encoder.vectors(encoder(parts.train[:1]).sample()).shape[1:]


@STRUCTURES.register("stacked")
def _stacked(
    parts: Parts,
    *,
    levels: PositiveInt = 2,
    latent_dim: PositiveInt = 8,
    hidden: Counts = (256,),
    decoder_hidden: Counts | None = None,
) -> "nn.Module":
    """Build a hierarchy whose levels have networks of their own.

    Args:
        levels: Number of levels of a stacked or ladder structure.
    """
    (inputs, shape), make, dims = parts.inputs, parts.networks[0], [latent_dim] * levels
    built = lvm.stacked(shape, dims, hidden, network=make, inputs=inputs)
    return _hierarchy(parts, built, partial(make, sum(dims), decoder_hidden or hidden[::-1]))


@STRUCTURES.register("ladder")
def _ladder(
    parts: Parts,
    *,
    levels: PositiveInt = 2,
    latent_dim: PositiveInt = 8,
    latent_channels: PositiveInt = 2,
    hidden: Counts = (256,),
    decoder_hidden: Counts | None = None,
) -> "nn.Module":
    """Build a hierarchy whose guide and model share a path from the top down.

    Args:
        latent_channels: Channels of the latent images of a conv ladder.
    """
    inputs, shape = parts.inputs
    if parts.is_conv:
        built = lvm.conv_ladder(shape, latent_dim, hidden, latent_channels=latent_channels, inputs=inputs)
        state = (hidden[0], shape[-2] // 2, shape[-1] // 2)
        return _hierarchy(parts, built, partial(lvm.ConvDecoder, state, decoder_hidden or hidden[:1]))
    make = parts.networks[0]
    built = lvm.ladder(shape, [latent_dim] * levels, hidden, network=make, inputs=inputs)
    return _hierarchy(parts, built, partial(make, hidden[-1], decoder_hidden or hidden[::-1]))


def _hierarchy(parts: Parts, levels: "lvm.Levels", network: MakeNetwork) -> "nn.Module":
    likelihood = parts.likelihood(network)
    return lvm.HierarchicalVAE(parts.prior(levels.top()), levels, likelihood)


@STRUCTURES.register("conditional", is_flat=True, takes=CONDITIONS)
def _conditional(
    parts: Parts, *, latent_dim: PositiveInt = 8, hidden: Counts = (256,), decoder_hidden: Counts | None = None
) -> "nn.Module":
    layers, width = condition_features(parts)
    conditions, widths = lvm.Conditions(layers), decoder_hidden or hidden[::-1]
    return lvm.ConditionalVAE(
        lvm.NormalEncoder(lvm.Conditions(layers, lvm.MLP(width, hidden, 2 * latent_dim))),
        parts.likelihood(partial(decoder_given, parts, conditions, width, widths, latent_dim)),
        parts.encoder(hidden, partial(network_given, parts, conditions, width, hidden)),
    )


@STRUCTURES.register("semi-supervised", is_flat=True, takes=LABEL)
def _semi_supervised(
    parts: Parts,
    *,
    latent_dim: PositiveInt = 8,
    hidden: Counts = (256,),
    decoder_hidden: Counts | None = None,
    classifier_weight: PositiveFloat = 50.0,
) -> "nn.Module":
    """Build a model of data and labels, which are summed out where they are missing.

    Args:
        classifier_weight: Weight of the classifier's loss on known labels in the loss of training, for semi-supervised.
    """
    from torch import nn

    (num_labels,) = parts.num_categories
    if num_labels is None:
        raise ValueError("a semi-supervised structure needs a condition with categories, whole numbers below 100; got covariates.")
    labels = lvm.LabelIndicators(num_labels)
    encoder = parts.encoder(hidden, partial(network_given, parts, nn.Identity(), num_labels, hidden))
    return lvm.SemiSupervisedVAE(
        parts.prior(encoder),
        parts.likelihood(partial(decoder_given, parts, labels, num_labels, decoder_hidden or hidden[::-1], latent_dim)),
        encoder,
        parts.encoder_network(hidden, num_labels),
        num_labels=num_labels,
        classifier_weight=classifier_weight,
    )
