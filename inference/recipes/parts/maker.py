"""The parts that the options of a model name, built for its training data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inference.data.columns import Column
from inference.recipes.parts.columns import kinds_of
from inference.recipes.parts.likelihoods import num_categories
from inference.recipes.registries import ENCODERS, LIKELIHOODS, NETWORKS, PRIORS
from inference.recipes.sizes import Counts, MakeNetwork
import pyro_lvm as lvm

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Parts:
    """What builders of structures make models from.

    Attributes:
        options: All options of the model by name, those of its parts included.
        train: Training data as the model sees them, ``[N, *X]``.
        given: What else the model is called with, such as labels ``[N]`` or covariates ``[N, *C]``.
        num_categories: Number of categories of each, None for covariates.
        columns: What the numbers of each column are, or None if the data are no table.
        names: The name of each of ``given``.
    """

    options: Mapping[str, Any]
    train: "Tensor"
    given: "tuple[Tensor, ...]" = ()
    num_categories: tuple[int | None, ...] = ()
    columns: tuple[Column, ...] | None = None
    names: tuple[str, ...] = ()

    def prior(self, encoder: "nn.Module") -> "nn.Module":
        """The prior that goes with an encoder."""
        return PRIORS.build(self.options["prior"], self.options, encoder=encoder, train=self.train)

    def encoder(self, hidden: Counts, make: MakeNetwork | None = None) -> "nn.Module":
        """The encoder, with hidden layers of these widths; ``make`` makes networks of other inputs, of the shape of their output."""

        def network(out_shape: int | Counts) -> "nn.Module":
            return self.encoder_network(hidden, out_shape) if make is None else make(out_shape)

        def grid(vector_dim: int, num_slots: int) -> "tuple[nn.Module, Counts]":
            return self._grid(hidden, vector_dim, num_slots)

        return ENCODERS.build(self.options["encoder"], self.options, network=network, grid=grid)

    def likelihood(self, network: MakeNetwork) -> "nn.Module":
        """The likelihood, with a function that makes a decoder with the given shape of its output."""
        given = dict(zip(self.names, self.given, strict=True))
        return LIKELIHOODS.build(
            self.options["likelihood"], self.options, network=network, train=self.train, columns=self.columns, given=given
        )

    @property
    def networks(self) -> tuple[MakeNetwork, MakeNetwork]:
        """The classes of networks of encoders and of decoders, called with the shape of the input, hidden widths, that of the output."""
        return NETWORKS.build(self.options["network"], self.options)

    @property
    def is_conv(self) -> bool:
        """Whether the networks are made for images."""
        return NETWORKS[self.options["network"]].facts["is_conv"]

    @property
    def is_categorical(self) -> bool:
        """Whether the data are codes of categories."""
        return LIKELIHOODS[self.options["likelihood"]].facts["is_categorical"]

    @property
    def is_counts(self) -> bool:
        """Whether the data are counts."""
        return LIKELIHOODS[self.options["likelihood"]].facts["is_counts"]

    @property
    def is_sequence(self) -> bool:
        """Whether a datum is a sequence of symbols."""
        return self.is_categorical and self.train.dim() == 2

    @property
    def inputs(self) -> "tuple[nn.Module | None, Counts]":
        """The layer that prepares data for a network, or None, and the shape of the data after it."""
        shape = tuple(self.train.shape[1:])
        if self.is_conv and len(shape) != 3:
            raise ValueError(
                f"the conv network needs data of shape [channels, height, width]; got {shape}. Give data.shape, such as [1,28,28]."
            )
        if self.is_categorical:
            V = num_categories(self.train)
            return lvm.OneHot(V, len(shape)), (V * shape[0], *shape[1:])
        if self.columns is not None:
            features = lvm.ColumnInputs(self.train, *kinds_of(self.columns))
            return features, tuple(features.out_shape)
        if self.is_counts:
            return lvm.LogCounts(self.train), shape
        is_unit = self.train.min() >= 0 and self.train.max() <= 1
        return None if is_unit else lvm.Standardize(self.train), shape

    def encoder_network(self, hidden: Counts, out_shape: int | Counts) -> "nn.Module":
        """The network of an encoder, from raw data to ``out_shape``."""
        inputs, shape = self.inputs
        return after(inputs, self.networks[0](shape, hidden, out_shape))

    def _grid(self, hidden: Counts, vector_dim: int, num_slots: int) -> "tuple[nn.Module, Counts]":
        """A network from data to a grid of vectors, and the grid's shape ``[*S, d]``."""
        if not self.is_conv:
            shape = (num_slots, vector_dim)
            return self.encoder_network(hidden, shape), shape
        if self.is_sequence:
            sequence = lvm.SequenceEncoder(self.train.shape[1], num_categories(self.train), hidden, vector_dim)
            return sequence, tuple(sequence.out_shape)
        inputs, in_shape = self.inputs
        network = lvm.GridEncoder(in_shape, hidden, vector_dim)
        return after(inputs, network), tuple(network.out_shape)


def after(inputs: "nn.Module | None", network: "nn.Module") -> "nn.Module":
    """A network that a layer may come before."""
    from torch import nn

    return network if inputs is None else nn.Sequential(inputs, network)
