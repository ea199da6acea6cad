r"""N-grams: each code given the ones before it in the same row, with smoothing that is chosen on the validation rows.

.. math:: p_k(c \mid h_k) = \frac{n(h_k, c) + \alpha_k\, p_{k-1}(c \mid h_{k-1})}{n(h_k) + \alpha_k}, \quad p_0(c) = 1 / V

Here h_k are the k - 1 codes before c, n counts in the training rows, and codes at the start of a row have shorter contexts.

References:
    MacKay, Peto (1995), A hierarchical Dirichlet language model. https://doi.org/10.1017/S1351324900000218
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyro
from pyro.distributions import TorchDistribution, constraints
import torch
from torch import Size, Tensor

from inference.yardsticks.pairs import Yardstick
from inference.yardsticks.rows import NotApplicable, TableOfRows
from pyro_lvm.distributions import SizeLike

_ALPHAS = [2.0**power for power in range(-6, 11)]
_MOST_KEYS = 2**62  # of sequences of codes, as whole numbers


class Counts(NamedTuple):
    """How often sequences of a length occur.

    Attributes:
        keys: The sequences as numbers in base V, sorted.
        numbers: How often each occurs.
        order: The length, or that of the sequences of which these are the contexts.
    """

    keys: Tensor
    numbers: Tensor
    order: int

    def of(self, keys: Tensor) -> Tensor:
        """Return how often sequences occur, zero for those that do not."""
        places = torch.searchsorted(self.keys, keys).clamp_max(len(self.keys) - 1)
        return torch.where(self.keys[places] == keys, self.numbers[places], 0.0)


def counted(keys: Tensor, order: int) -> Counts:
    """Count sequences."""
    found, numbers = keys.flatten().unique(return_counts=True)
    return Counts(found, numbers.double(), order)


def sequences(codes: Tensor, order: int, num_codes: int) -> Tensor:
    """Return all sequences of ``order`` codes in rows ``[*lead, T]`` as numbers, ``[*lead, T - order + 1]``."""
    last = codes.shape[-1] - order + 1
    powers = [num_codes**power for power in range(order)[::-1]]
    return torch.stack([codes[..., i : i + last] * power for i, power in enumerate(powers)]).sum(0)


class NGrams(TorchDistribution):
    r"""Rows of codes whose every code depends on those before it.

    Args:
        num_codes: Number of values V of a code.
        length: Length of a row, T.
        counts: Counts of sequences of 1, 2, ... codes, and of those that are the contexts of these.
        alphas: Weights :math:`\alpha_k` of the shorter context.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, num_codes: int, length: int, counts: Sequence[tuple[Counts, Counts]], alphas: Sequence[float]) -> None:
        self.num_codes, self.counts, self.alphas = num_codes, counts, alphas
        super().__init__(Size(), Size((length,)), validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.integer_interval(0, self.num_codes - 1), 1)

    def expand(self, batch_shape: SizeLike, _instance: TorchDistribution | None = None) -> "NGrams":
        new = self._get_checked_instance(NGrams, _instance)
        new.num_codes, new.counts, new.alphas = self.num_codes, self.counts, self.alphas
        TorchDistribution.__init__(new, Size(batch_shape), self.event_shape, validate_args=False)
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        codes = value.long()
        probs = torch.full(codes.shape, 1 / self.num_codes, dtype=torch.float64, device=codes.device)  # [*lead, T]
        for (both, contexts), alpha in zip(self.counts, self.alphas, strict=True):
            probs = next_order(probs, *occurrences(codes, both, contexts, self.num_codes), alpha)
        return probs.log().sum(-1)  # [*lead]


def occurrences(codes: Tensor, both: Counts, contexts: Counts, num_codes: int) -> tuple[Tensor, Tensor, int]:
    """Return how often the last codes up to each place of rows occur, and how often their contexts do, and the order of the counts."""
    keys = sequences(codes, both.order, num_codes)
    return both.of(keys), contexts.of(keys // num_codes), both.order


def next_order(probs: Tensor, both: Tensor, contexts: Tensor, order: int, alpha: float) -> Tensor:
    """Return the probabilities of the codes of rows ``[*lead, T]`` with contexts that are longer by a code than before."""
    longer = (both + alpha * probs[..., order - 1 :]) / (contexts + alpha)
    return torch.cat([probs[..., : order - 1], longer], dim=-1)


class NGramYardstick(Yardstick):
    """N-grams as a pair.

    Args:
        num_codes: Number of values of a code.
        length: Length of a row.
        counts: As for :class:`NGrams`.
        alphas: As for :class:`NGrams`.
    """

    def __init__(self, num_codes: int, length: int, counts: Sequence[tuple[Counts, Counts]], alphas: Sequence[float]) -> None:
        super().__init__(f"of order {len(alphas)}")
        self.num_codes, self.length, self.alphas = num_codes, length, tuple(alphas)
        for order, of_order in enumerate(counts, start=1):
            for name, some in zip(("both", "contexts"), of_order, strict=True):
                self.register_buffer(f"{name}_keys{order}", some.keys)
                self.register_buffer(f"{name}_numbers{order}", some.numbers)

    def model(self, x: Tensor) -> None:
        counts = [(self._counts("both", order), self._counts("contexts", order)) for order in range(1, len(self.alphas) + 1)]
        with pyro.plate("data", len(x)):
            pyro.sample("x", NGrams(self.num_codes, self.length, counts, self.alphas), obs=x.reshape(len(x), -1))

    def _counts(self, name: str, order: int) -> Counts:
        return Counts(getattr(self, f"{name}_keys{order}"), getattr(self, f"{name}_numbers{order}"), order)


def n_grams(table: TableOfRows, *, max_order: int) -> NGramYardstick:
    """Fit n-grams of rising order, as long as the validation rows become more likely.

    Raises:
        NotApplicable: If the rows are no text, or there are no validation rows.
    """
    if not table.is_text:
        raise NotApplicable("it is for text")
    if not len(table.valid):
        raise NotApplicable("there are no validation rows to choose smoothing by")
    train, valid = (torch.from_numpy(rows).long() for rows in (table.train, table.valid))
    num_codes, length = max(table.sizes), train.shape[1]
    counts: list[tuple[Counts, Counts]] = []
    alphas: list[float] = []
    probs = torch.full(valid.shape, 1 / num_codes, dtype=torch.float64)
    for order in range(1, min(max_order, length) + 1):
        if num_codes**order > _MOST_KEYS:
            break
        keys = sequences(train, order, num_codes)
        pair = counted(keys, order), counted(keys // num_codes, order)
        seen = occurrences(valid, *pair, num_codes)
        found = {alpha: next_order(probs, *seen, alpha) for alpha in _ALPHAS}
        alpha = max(_ALPHAS, key=lambda alpha: float(found[alpha].log().sum()))
        if found[alpha].log().sum() <= probs.log().sum():
            break
        counts, alphas, probs = [*counts, pair], [*alphas, alpha], found[alpha]
    return NGramYardstick(num_codes, length, counts, alphas)
