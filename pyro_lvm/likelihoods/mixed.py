"""Likelihood of tables whose columns are of several kinds, with missing cells."""

from __future__ import annotations

from collections.abc import Sequence

from pyro import distributions as dist
from pyro.distributions import TorchDistribution
import torch
from torch import Tensor, nn

from pyro_lvm.distributions.counts import LogRatePoisson, NegativeBinomial
from pyro_lvm.distributions.student_t import StudentT
from pyro_lvm.likelihoods.columns import ColumnValues, MixedColumns, ordered_logits
from pyro_lvm.likelihoods.likelihood import Likelihood, Positive
from pyro_lvm.networks.columns import KINDS, check_kinds, places_of


class MixedLikelihood(Likelihood):
    r"""Likelihood of a table, each column of which has a density of its own kind; missing cells, NaN, are left out exactly.

    .. math:: \log p(x \mid z) = \sum_{i: x_i \text{ observed}} \log p_i(x_i \mid z)

    ============  ===============================================================================  ============================
    kind          :math:`p_i`                                                                      outputs of the network
    ============  ===============================================================================  ============================
    ``real``      normal or Student t of :math:`(x_i - m_i) / s_i`, divided by :math:`s_i`          location
    ``count``     negative binomial or Poisson                                                     logarithm of the mean
    ``binary``    Bernoulli                                                                        logit
    ``ordinal``   cumulative logit, :math:`P(x_i \le k) = \sigma(c_{ik} - f_i)`                     :math:`f`
    ``category``  categorical                                                                      logits, one for each value
    ============  ===============================================================================  ============================

    A missing cell is integrated out, as cells are independent given z. Densities are in the units of the data.

    Args:
        network: Maps latents ``[*lead, D]`` to ``[*lead, P]``, the outputs of all real columns, then those of counts, binary, ordinal and
            category columns, each in the order of the columns; P is :meth:`num_outputs`.
        kinds: Kind of each column.
        num_values: Number of values of each column, V; 0 for real numbers and counts.
        loc: Origin m of each column ``[X]``, by default 0; not used except for real columns.
        scale: Unit s of each column ``[X]``, by default 1; not used except for real columns.
        noise: Scales of the densities of real columns, in units of s: one for all, ``[]``, or one for each, ``[R]``, by default 1. They are
            learned.
        df: Degrees of freedom of Student t densities of real columns, one for each, which are learned; by default, densities are normal.
        dispersion: Dispersions of negative binomials, one for each count column, which are learned; None for Poisson.
        thresholds: Thresholds of each ordinal column, increasing, ``[V - 1]``; by default 1 apart. They are learned.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[X]``.

    Raises:
        ValueError: If kinds and sizes do not go together, or a scale is not positive.

    References:
        Nazabal, Olmos, Ghahramani, Valera (2020), Handling incomplete heterogeneous data using VAEs. https://arxiv.org/abs/1807.03653

    Example:
        >>> import torch
        >>> from pyro_lvm import MLP, MixedLikelihood
        >>> kinds, num_values = ["real", "count", "category"], [0, 0, 3]
        >>> likelihood = MixedLikelihood(MLP(2, [8], MixedLikelihood.num_outputs(kinds, num_values)), kinds, num_values)
        >>> likelihood(torch.zeros(5, 2)).event_shape
        torch.Size([3])
    """

    loc: Tensor
    scale: Tensor
    is_padding: Tensor
    num_ordered: Tensor
    logits_of: Tensor

    def __init__(
        self,
        network: nn.Module,
        kinds: Sequence[str],
        num_values: Sequence[int],
        *,
        loc: Tensor | None = None,
        scale: Tensor | None = None,
        noise: Tensor | None = None,
        df: float | Tensor | None = None,
        dispersion: float | Tensor | None = 1.0,
        thresholds: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__(network)
        check_kinds(kinds, num_values)
        self.kinds, self.num_values = tuple(kinds), tuple(num_values)
        self._add_units(loc, scale)
        sizes = {kind: len(places_of(kinds, kind)) for kind in KINDS}
        self.present = tuple(kind for kind in KINDS if sizes[kind])
        self.widths = tuple(_width(kind, kinds, num_values) for kind in self.present)
        for kind in self.present:
            self.register_buffer(f"places_{kind}", torch.tensor(places_of(kinds, kind)), persistent=False)
        noise = torch.ones(sizes["real"]) if noise is None else noise
        self.noise = Positive(noise, learn=True, name="noise") if sizes["real"] else None
        self.df = None if df is None or not sizes["real"] else Positive(_each(df, sizes["real"]), learn=True, name="df")
        is_overdispersed = dispersion is not None and sizes["count"]
        self.dispersion = Positive(_each(dispersion, sizes["count"]), learn=True, name="dispersion") if is_overdispersed else None
        if sizes["ordinal"]:
            self._add_thresholds([num_values[place] for place in places_of(kinds, "ordinal")], thresholds)
        if sizes["category"]:
            self._add_categories([num_values[place] for place in places_of(kinds, "category")])

    @staticmethod
    def num_outputs(kinds: Sequence[str], num_values: Sequence[int]) -> int:
        """Return how many numbers the network must give for each datum, P."""
        check_kinds(kinds, num_values)
        return sum(_width(kind, kinds, num_values) for kind in KINDS)

    def _add_units(self, loc: Tensor | None, scale: Tensor | None) -> None:
        is_real = torch.tensor([kind == "real" for kind in self.kinds])
        for name, given, neutral in (("loc", loc, 0.0), ("scale", scale, 1.0)):
            value = torch.full((len(self.kinds),), neutral) if given is None else torch.as_tensor(given)
            if value.shape != is_real.shape or not value.isfinite().all() or (name == "scale" and not (value[is_real] > 0).all()):
                raise ValueError(
                    f"{name} must have shape ({len(self.kinds)},) and finite{' positive' * (name == 'scale')} numbers; got {given}."
                )
            self.register_buffer(name, torch.where(is_real, value, neutral))

    def _add_thresholds(self, counts: list[int], thresholds: Sequence[Tensor] | None) -> None:
        ordered = [torch.arange(count - 1.0) - (count - 2) / 2 for count in counts] if thresholds is None else list(thresholds)
        if [len(each) for each in ordered] != [count - 1 for count in counts] or any(not (each.diff() > 0).all() for each in ordered):
            raise ValueError(f"thresholds must increase, {[count - 1 for count in counts]} of them; got {thresholds}.")
        width = max(max(counts) - 2, 0)
        gaps = [each.diff() for each in ordered]
        padded = [torch.cat([gap, gap.new_ones(width - len(gap))]) for gap in gaps]
        self.first = nn.Parameter(torch.stack([each[0] if len(each) else torch.zeros(()) for each in ordered]))
        self.log_gaps = nn.Parameter(torch.stack(padded).log())
        self.register_buffer("num_ordered", torch.tensor(counts), persistent=False)

    def _add_categories(self, counts: list[int]) -> None:
        codes, count = torch.arange(max(counts)), torch.tensor(counts)[:, None]
        starts = count.cumsum(0) - count
        self.register_buffer("is_padding", codes >= count, persistent=False)  # [C, V]
        self.register_buffer("logits_of", (starts + codes).where(codes < count, 0), persistent=False)  # [C, V]

    def elements(self, params: Tensor) -> TorchDistribution:
        if params.shape[-1] != sum(self.widths):
            raise ValueError(
                f"The network must give [*lead, {sum(self.widths)}], as MixedLikelihood.num_outputs says; got {tuple(params.shape)}. "
                f"Let its out_shape be {sum(self.widths)}."
            )
        outputs = dict(zip(self.present, params.split(self.widths, -1), strict=True))
        parts = [getattr(self, f"_{kind}")(own) for kind, own in outputs.items()]
        places = [getattr(self, f"places_{kind}") for kind in self.present]
        return MixedColumns(parts, places, self.loc, self.scale, ColumnValues(self.kinds, self.num_values))

    def _real(self, location: Tensor) -> TorchDistribution:
        noise = self.noise(location)  # type: ignore[misc]  # it is there where columns are real
        return dist.Normal(location, noise, validate_args=False) if self.df is None else _student(self.df(location), location, noise)

    def _count(self, log_mean: Tensor) -> TorchDistribution:
        if self.dispersion is None:
            return LogRatePoisson(log_mean, validate_args=False)
        total_count = 1.0 / self.dispersion(log_mean)
        return NegativeBinomial(total_count, logits=log_mean - total_count.log(), validate_args=False)

    def _binary(self, logits: Tensor) -> TorchDistribution:
        return dist.Bernoulli(logits=logits, validate_args=False)

    def _ordinal(self, location: Tensor) -> TorchDistribution:
        logits = ordered_logits(location, self.first, self.log_gaps, self.num_ordered)
        return dist.Categorical(logits=logits, validate_args=False)

    def _category(self, logits: Tensor) -> TorchDistribution:
        return dist.Categorical(logits=logits[..., self.logits_of].masked_fill(self.is_padding, -torch.inf), validate_args=False)


def _student(df: Tensor, location: Tensor, scale: Tensor) -> TorchDistribution:
    return StudentT(df, location, scale, validate_args=False)


def _width(kind: str, kinds: Sequence[str], num_values: Sequence[int]) -> int:
    places = places_of(kinds, kind)
    return sum(num_values[place] for place in places) if kind == "category" else len(places)


def _each(value: float | Tensor | None, count: int) -> Tensor:
    """One number for each of some columns."""
    return torch.as_tensor(value, dtype=None if torch.is_tensor(value) else torch.get_default_dtype()).expand(count).clone()
