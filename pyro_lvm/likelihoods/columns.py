"""Columns of several kinds as one distribution, in which missing cells do not count."""

from __future__ import annotations

from collections.abc import Sequence

from pyro import distributions as dist
from pyro.distributions import TorchDistribution, constraints
import torch
from torch import Size, Tensor
from torch.distributions import biject_to
from torch.distributions.transforms import Transform, identity_transform
from torch.nn import functional as F

from pyro_lvm.distributions import SizeLike


class ColumnValues(constraints.Constraint):
    """What cells of columns can be: finite numbers, counts, codes 0 to V - 1, or missing, NaN.

    Args:
        kinds: Kind of each column.
        num_values: Number of values of each column; 0 for real numbers and counts.
    """

    def __init__(self, kinds: Sequence[str], num_values: Sequence[int]) -> None:
        self.kinds, self.num_values = tuple(kinds), tuple(num_values)
        super().__init__()

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]  # of torch, where it is an attribute
        return "real" not in self.kinds

    def check(self, value: Tensor) -> Tensor:
        """Return which cells ``[*lead, D]`` can be."""
        limits = [count or float("inf") for count in self.num_values]
        is_real = torch.tensor([kind == "real" for kind in self.kinds], device=value.device)
        is_code = (value >= 0) & (value < torch.tensor(limits, device=value.device)) & (value == value.round())
        return torch.where(is_real, value.isfinite(), is_code) | value.isnan()

    def __repr__(self) -> str:
        return f"columns of {', '.join(dict.fromkeys(self.kinds))} values"


@biject_to.register(ColumnValues)
def _unconstrained(support: ColumnValues) -> Transform:
    if set(support.kinds) != {"real"}:
        raise NotImplementedError(f"{support} have no unconstrained coordinates")
    return identity_transform


class MixedColumns(TorchDistribution):
    r"""Independent columns, each with a distribution of its own in its own units; a value of NaN is a missing cell, which has no density.

    .. math:: \log p(x) = \sum_{i: x_i \text{ observed}} \log p_i\!\left(\frac{x_i - m_i}{s_i}\right) - \log s_i

    The columns are the last dimension of the batch shape, so that ``.to_event(1)`` makes one event of them.

    Args:
        parts: Distributions of columns of one kind each, of batch shapes ``[*lead, D_j]``.
        places: Which columns of x those of each part are, integers ``[D_j]``.
        loc: Origins m, ``[D]``; 0 for counts and codes.
        scale: Units s, ``[D]``; 1 for counts and codes.
        support: What the cells can be.
    """

    arg_constraints = {}
    skips_missing = True  # which sites that count elements ask for

    def __init__(
        self,
        parts: Sequence[TorchDistribution],
        places: Sequence[Tensor],
        loc: Tensor,
        scale: Tensor,
        support: ColumnValues,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.parts, self.places, self.loc, self.scale, self._support = tuple(parts), tuple(places), loc, scale, support
        lead = torch.broadcast_shapes(*(part.batch_shape[:-1] for part in parts))
        super().__init__(Size([*lead, len(loc)]), validate_args=validate_args)

    @property
    def support(self) -> ColumnValues:
        return self._support

    @property
    def measure(self) -> str:
        """``"mixed"`` if p(x) is a density in some columns and a mass in others."""
        if self._support.is_discrete:
            return "mass"
        return "density" if set(self._support.kinds) == {"real"} else "mixed"

    def expand(self, batch_shape: SizeLike, _instance: MixedColumns | None = None) -> MixedColumns:
        new = self._get_checked_instance(MixedColumns, _instance)
        new.parts = tuple(part.expand(Size([*batch_shape[:-1], part.batch_shape[-1]])) for part in self.parts)
        new.places, new.loc, new.scale, new._support = self.places, self.loc, self.scale, self._support
        super(MixedColumns, new).__init__(Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        observed = ~value.isnan()
        standard = torch.where(observed, (value - self.loc) / self.scale, 0.0)  # a gradient through NaN would be NaN
        terms = [part.log_prob(standard[..., places]) for part, places in zip(self.parts, self.places, strict=True)]
        return torch.where(observed, self._joined(terms) - self.scale.log(), 0.0)

    def sample(self, sample_shape: SizeLike = Size()) -> Tensor:
        with torch.no_grad():
            draws = self._joined([part.sample(sample_shape).to(self.loc.dtype) for part in self.parts])
        return self.loc + self.scale * draws

    @property
    def mean(self) -> Tensor:
        if {"ordinal", "category"} & set(self._support.kinds):
            raise NotImplementedError("codes of values have no mean.")
        return self.loc + self.scale * self._joined([part.mean for part in self.parts])

    @property
    def variance(self) -> Tensor:
        if {"ordinal", "category"} & set(self._support.kinds):
            raise NotImplementedError("codes of values have no variance.")
        return self.scale.square() * self._joined([part.variance for part in self.parts])

    def probabilities(self) -> dict[int, Tensor]:
        """Return the probabilities ``[*lead, V]`` of the values of each column that has codes, by its place."""
        found = {}
        for part, places in zip(self.parts, self.places, strict=True):
            if isinstance(part, dist.Bernoulli | dist.Categorical):
                for column, place in enumerate(places.tolist()):
                    own = part.probs[..., column] if isinstance(part, dist.Bernoulli) else part.probs[..., column, :]
                    own = torch.stack([1 - own, own], -1) if isinstance(part, dist.Bernoulli) else own
                    found[place] = own[..., : self._support.num_values[place]]
        return found

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Values of the columns of all parts, in the order of the columns."""
        lead = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
        joined = torch.cat([part.expand(*lead, part.shape[-1]) for part in parts], -1)
        return joined if len(parts) == 1 else joined[..., torch.cat(self.places).argsort()]


def ordered_logits(location: Tensor, first: Tensor, log_gaps: Tensor, num_values: Tensor) -> Tensor:
    r"""Return log probabilities of ordered values, :math:`P(y \le k) = \sigma(c_k - f)` with thresholds :math:`c_1 < c_2 < \dots`.

    .. math:: P(c < y \le c') = \sigma(c' - f) \, \sigma(f - c) \, (1 - e^{-(c' - c)})

    Args:
        location: :math:`f`, ``[*lead, D]``.
        first: Lowest thresholds, ``[D]``.
        log_gaps: Logarithms of the gaps between thresholds, ``[D, V - 2]``; those beyond a column's own number of values have no effect.
        num_values: Number of values of each column, at most V, ``[D]``.

    Returns:
        Log probabilities ``[*lead, D, V]``, minus infinity beyond a column's own values.
    """
    gaps = log_gaps.exp()
    thresholds = first[:, None] + F.pad(gaps.cumsum(-1), (1, 0))  # [D, V - 1]
    above = thresholds - location[..., None]  # [*lead, D, V - 1]
    codes = torch.arange(thresholds.shape[-1] + 1, device=first.device)
    is_inner = codes < num_values[:, None] - 1  # [D, V]: a threshold is above the value
    log_widths = F.pad((-torch.expm1(-gaps)).log(), (1, 1))  # [D, V]
    upper = torch.where(is_inner, F.pad(F.logsigmoid(above), (0, 1)) + torch.where(is_inner, log_widths, 0.0), 0.0)
    lower = F.pad(F.logsigmoid(-above), (1, 0))
    return (upper + lower).masked_fill(codes >= num_values[:, None], -torch.inf)
