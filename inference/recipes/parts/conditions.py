"""Networks that take labels or covariates besides data or latents."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from inference.recipes.parts.maker import Parts, after
from inference.recipes.sizes import Counts
import pyro_lvm as lvm

if TYPE_CHECKING:
    from torch import Tensor, nn


def condition_features(parts: Parts) -> "tuple[list[nn.Module], int]":
    """Layers that make features of the conditions, and their number: indicators of categories, and standardized covariates."""
    from torch import nn

    layers: list[nn.Module] = []
    width = 0
    for given, count in zip(parts.given, parts.num_categories, strict=True):
        layers.append(nn.Sequential(_scaled(parts, given), _flat(given.shape[1:])) if count is None else lvm.LabelIndicators(count))
        width += prod(given.shape[1:]) if count is None else count
    return layers, width


def _scaled(parts: Parts, given: "Tensor") -> "nn.Module":
    """Covariates standardized; beside counts, those that are counts themselves, such as a total, by their logarithms."""
    are_counts = parts.is_counts and bool((given >= 0).all() and (given == given.round()).all())
    return lvm.LogCounts(given) if are_counts else lvm.Standardize(given)


def _flat(shape: Sequence[int]) -> "nn.Module":
    from torch import nn

    from pyro_lvm.networks.network import Network

    return Network(nn.Identity(), shape, prod(shape), prod(shape))


def decoder_given(
    parts: Parts, conditions: "nn.Module", width: int, hidden: Counts, latent_dim: int, out_shape: int | Counts
) -> "nn.Module":
    """A network from latents and conditions."""
    return lvm.Join(None, conditions, parts.networks[1](latent_dim + width, hidden, out_shape))


def network_given(parts: Parts, conditions: "nn.Module", width: int, hidden: Counts, out_shape: int | Counts) -> "nn.Module":
    """A network from data and conditions: perceptrons see both at once, and convolutions first make features of the data."""
    if parts.is_conv:
        return lvm.Join(parts.encoder_network(hidden, hidden[-1]), conditions, lvm.MLP(hidden[-1] + width, (), out_shape))
    inputs, shape = parts.inputs
    data = after(inputs, _flat(shape))
    return lvm.Join(data, conditions, parts.networks[0](prod(shape) + width, hidden, out_shape))
