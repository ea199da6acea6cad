"""What :func:`~inference.diagnostics.diagnose` finds: figures, their standard errors, and what each of them is."""

from dataclasses import dataclass
from math import nan

import pandas as pd
from torch import Tensor

from inference.tables import format_error, format_value

FIGURES = (
    "rate",
    "mutual_information",
    "marginal_kl",
    "marginal_kl_held_out",
    "total_correlation",
    "dimension_kl",
    "reverse_kl",
    "distortion",
    "holes_prior",
    "holes_codes",
    "auc",
    "active_units",
)


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis:
    r"""How codes and prior of a pair agree, and what its rate is made of, in nats.

    .. math:: \mathrm{rate} = \mathrm{MI} + \mathrm{KL}(q(z) \,\|\, p(z)), \quad
        \mathrm{KL}(q(z) \,\|\, p(z)) = \mathrm{TC} + \sum_d \mathrm{KL}(q(z_d) \,\|\, p(z_d))

    with the aggregate posterior :math:`q(z) = \frac{1}{N} \sum_n q(z \mid x_n)`; the second holds if p(z) is a product over d.
    What has no closed form for a pair is NaN, and ``notes`` says why.

    Attributes:
        rate: Mean over the data of E_q[log q(z|x) - log p(z)].
        mutual_information: Between datum and code, at most log N.
        marginal_kl: KL(q(z) || p(z)); for new data too high in expectation.
        marginal_kl_held_out: The same, each code's own fold of the data left out of q(z); for new data too low in expectation.
        total_correlation: KL(q(z) || product of all q(z_d)).
        dimension_kl: Sum over d of KL(q(z_d) || p(z_d)).
        reverse_kl: KL(p(z) || q(z)).
        distortion: Mean over the data of -E_q[log p(x|z)].
        holes_prior: Share of prior draws that lie outside the codes; ``quantile`` if prior and codes agree.
        holes_codes: Share of codes that lie outside the prior; ``quantile`` if prior and codes agree.
        auc: How well a classifier tells prior draws from codes; 1/2 if not at all.
        active_units: Units, over all continuous latents, whose posterior mean has a variance over the data above 0.01; of proportions
            and unit vectors, above a hundredth of the prior's.
        dimension_kls: KL(q(z_d) || p(z_d)) of each d, shape ``[D]``; empty where ``dimension_kl`` is NaN.
        dimension_kl_errors: Their standard errors, of the same shape.
        unit_variances: Var_x(E_q[z_d|x]) of the units of each continuous latent, each ``[D]``.
        collapsed: The units of each continuous latent that are not active.
        levels: Further figures of single latents: rates and active units of several latents, use of discrete ones.
        standard_errors: Of every figure by name, those in ``levels`` too.
        notes: What every figure is, and where its estimator ends.
        num_data: Data in the aggregate posterior, N.
        num_codes: Codes that were scored.
        num_draws: Prior draws.
        quantile: Share of the codes that lie outside the codes by definition, and of prior draws outside the prior.
        seed: Seed of codes and draws.
    """

    rate: float
    mutual_information: float
    marginal_kl: float
    marginal_kl_held_out: float
    total_correlation: float
    dimension_kl: float
    reverse_kl: float
    distortion: float
    holes_prior: float
    holes_codes: float
    auc: float
    active_units: int
    dimension_kls: Tensor
    dimension_kl_errors: Tensor
    unit_variances: dict[str, Tensor]
    collapsed: dict[str, tuple[int, ...]]
    levels: dict[str, float]
    standard_errors: dict[str, float]
    notes: dict[str, str]
    num_data: int
    num_codes: int
    num_draws: int
    quantile: float
    seed: int

    def to_frame(self) -> pd.DataFrame:
        """One row per figure: ``value``, its standard error ``se``, and ``note``."""
        values = {name: getattr(self, name) for name in FIGURES} | self.levels
        rows = [(value, self.standard_errors.get(name, nan), self.notes[name]) for name, value in values.items()]
        index = pd.Index(values, name="figure")
        return pd.DataFrame(rows, index=index, columns=["value", "se", "note"]).astype({"value": float, "se": float})

    def __repr__(self) -> str:
        frame = self.to_frame()
        width = max(map(len, frame.index))
        lines = [
            f"{name:<{width}}  {_value(name, row.value, row.se):>9}  {format_error(row.se):>8}  {row.note}"
            for name, row in zip(frame.index, frame.itertuples(), strict=True)
        ]
        head = f"{'':<{width}}  {'value':>9}  {'se':>8}"
        counts = f"{self.num_data} data, {self.num_codes} codes and {self.num_draws} prior draws scored, seed {self.seed}; nats."
        return "\n".join([head, *lines, counts, *self._collapsed_lines()])

    def _collapsed_lines(self) -> list[str]:
        return [f"Collapsed units of {name}: {', '.join(map(str, units))}." for name, units in self.collapsed.items() if units]


def _value(name: str, value: float, error: float) -> str:
    return f"{value:.0f}" if name.startswith("active_units") else format_value(value, error)
