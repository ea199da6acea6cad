"""Yardsticks as pairs: no latent, or one that is summed out, so that log p(x) is exact."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_lvm.distributions.counts import NegativeBinomial
from pyro_lvm.distributions.normal_mixture import FullNormalMixture
from pyro_lvm.likelihoods.columns import ColumnValues, MixedColumns

FAMILIES = {"normal": dist.Normal, "negative_binomial": NegativeBinomial, "categorical": dist.Categorical}


class Yardstick(nn.Module, ABC):
    """A fitted model of rows whose likelihood is exact, with ``.model`` and ``.guide``, of which the latter draws nothing.

    Attributes:
        size: What it was fitted with, in words, such as ``"of 3 components"``; empty if there is nothing to say.
    """

    def __init__(self, size: str) -> None:
        super().__init__()
        self.size = size

    @abstractmethod
    def model(self, x: Tensor) -> None:
        """Declare p(x) of observations ``[B, *X]``."""

    def guide(self, x: Tensor) -> None:
        """Draw nothing, as no latent is drawn."""


class NormalYardstick(Yardstick):
    r"""A mixture of normal distributions with full covariances, of which a single one is a special case.

    .. math:: p(x) = \sum_{c=1}^C w_c \, \mathcal N(x \mid m_c, L_c L_c^\top)

    Args:
        weights: Shape ``[C]``.
        means: Shape ``[C, D]``.
        covariances: Shape ``[C, D, D]``.
        size: What it was fitted with, in words.
    """

    logits: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, size: str = "") -> None:
        super().__init__(size)
        self.register_buffer("logits", torch.from_numpy(np.log(weights)))
        self.register_buffer("means", torch.from_numpy(means))
        self.register_buffer("factors", torch.from_numpy(np.linalg.cholesky(covariances)))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", FullNormalMixture(self.logits, self.means, self.factors), obs=x.reshape(len(x), -1))


class ColumnsYardstick(Yardstick):
    r"""Columns that are independent, or independent given a class, which is summed out; missing cells, NaN, are left out.

    .. math:: p(x) = \sum_{c=1}^C w_c \prod_{d \text{ observed}} p(x_d \mid \theta_{cd})

    Args:
        weights: Weights of the classes, shape ``[C]``.
        parts: Some of the columns, whose cells have distributions of one family.
        values: What the cells of all columns can be.
        size: What it was fitted with, in words.
    """

    logits: Tensor

    def __init__(self, weights: np.ndarray, parts: Sequence["Part"], values: ColumnValues, size: str = "") -> None:
        super().__init__(size)
        self.values, self.parts = values, [(part.family, tuple(part.parameters)) for part in parts]
        self.register_buffer("logits", torch.from_numpy(np.log(weights)))
        for part in parts:
            self.register_buffer(f"{part.family}_places", torch.tensor(part.places))
            for name, of_classes in part.parameters.items():
                self.register_buffer(f"{part.family}_{name}", torch.from_numpy(of_classes))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            c = torch.zeros((), dtype=torch.long, device=x.device)
            if len(self.logits) > 1:
                c = pyro.sample("class", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
            pyro.sample("x", self._columns(c).to_event(1), obs=x.reshape(len(x), -1).double())

    def _columns(self, c: Tensor) -> MixedColumns:
        """The columns of rows of given classes ``[*lead]``, with batch shape ``[*lead, D]``."""
        parts = [FAMILIES[family](**{name: getattr(self, f"{family}_{name}")[c] for name in names}) for family, names in self.parts]
        places = [getattr(self, f"{family}_places") for family, _ in self.parts]
        nothing = self.logits.new_zeros(len(self.values.kinds))
        return MixedColumns(parts, places, nothing, nothing + 1, self.values)


class Part(NamedTuple):
    """Columns whose cells have distributions of one family.

    Attributes:
        family: A key of ``FAMILIES``.
        places: Places of the columns.
        parameters: Parameters of the distributions by name, ``[C, D]``, or ``[C, D, V]`` for codes.
    """

    family: str
    places: list[int]
    parameters: Mapping[str, np.ndarray]
