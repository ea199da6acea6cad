"""Diagnosis of a fitted pair: prior holes in both directions, terms of its rate, gaps of its ELBO, units and codebooks in use."""

from dataclasses import dataclass
import math
from math import nan
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from inference.densities.broadcasting import choose_layout
from inference.densities.layout import Latents, Layout
from inference.densities.scope import scoring
from inference.diagnostics.active_units import Units
from inference.diagnostics.aggregate import CHUNK_SIZE, is_matrix_form, leave_out, log_fold_sums
from inference.diagnostics.draws import Codes, check_one_prior, diagnosable, draw_codes, draw_prior
from inference.diagnostics.estimates import Figure, Sample, dimension_figures, hole_figures, level_figures, rate_figures, total_units
from inference.diagnostics.gaps import MOST_DATA, gap_figures
from inference.formatting import format_error, format_value
from inference.markup import Record, Shown
from inference.processes import is_first, join
from pyro_lvm.checks import check_counts, check_seeds
from pyro_lvm.contract import check_batch
from pyro_lvm.pair import Batch
from pyro_lvm.reading import read_batch
from pyro_lvm.structure import Structure

NUM_FOLDS = 10
_NUM_DRAWS, _NUM_DRAWS_SLOW = 10_000, 1_000
FIGURES = (
    "rate",
    "mutual_information",
    "marginal_kl",
    "marginal_kl_held_out",
    "total_correlation",
    "dimension_kl",
    "reverse_kl",
    "distortion",
    "approximation_gap",
    "amortization_gap",
    "holes_prior",
    "holes_codes",
    "auc",
    "active_units",
)


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Record):
    r"""How well codes and prior of a pair agree, and the terms of its rate, in nats.

    .. math:: \mathrm{rate} = \mathrm{MI} + \mathrm{KL}(q(z) \,\|\, p(z)), \quad
        \mathrm{KL}(q(z) \,\|\, p(z)) = \mathrm{TC} + \sum_d \mathrm{KL}(q(z_d) \,\|\, p(z_d))

    with the aggregate posterior :math:`q(z) = \frac{1}{N} \sum_n q(z \mid x_n)`; the second equation holds if p(z) is a product
    over d. The ELBO, -(rate + distortion), lies below log p(x) by approximation_gap + amortization_gap, of a part of the data. A figure
    that needs a closed form which the pair lacks, or a normal distribution fitted to latents that have none, is NaN, and ``notes`` says
    why.

    Attributes:
        rate: Mean over the data of E_q[log q(z|x) - log p(z)].
        mutual_information: Mutual information of datum and code, at most log N.
        marginal_kl: KL(q(z) || p(z)); too high in expectation for new data.
        marginal_kl_held_out: The same with each code's own fold of the data left out of q(z); too low in expectation for new data.
        total_correlation: KL(q(z) || product of all q(z_d)).
        dimension_kl: Sum over d of KL(q(z_d) || p(z_d)).
        reverse_kl: KL(p(z) || q(z)).
        distortion: Mean over the data of -E_q[log p(x|z)].
        approximation_gap: Mean of log p(x) - ELBO(r) over random data, at most 256, for a normal distribution r fitted to p(z|x) of each
            datum in unconstrained coordinates; r matches scores and does not maximize the ELBO, so that this is an upper bound on the gap
            of full-covariance normal guides; above 256 coordinates, r has a precision that is diagonal but for a part of low rank.
        amortization_gap: Mean of ELBO(r) - ELBO over the same data: what a fit to each datum gains over the guide. For a diagonal guide,
            it includes what a full covariance gains; it is negative if the guide is better than r, as a flow can be.
        holes_prior: Share of prior draws that lie outside the codes; ``quantile`` if prior and codes agree.
        holes_codes: Share of codes that lie outside the prior; ``quantile`` if prior and codes agree.
        auc: How well a classifier tells prior draws from codes; 1/2 is chance.
        active_units: Number of units of all continuous latents whose posterior mean has a variance over the data above 0.01; for
            proportions and unit vectors, above a hundredth of the prior's variance.
        dimension_kls: KL(q(z_d) || p(z_d)) of each d, shape ``[D]``; empty where ``dimension_kl`` is NaN.
        dimension_kl_errors: Their standard errors, of the same shape.
        unit_variances: Var_x(E_q[z_d|x]) of the units of each continuous latent, each ``[D]``.
        collapsed: The units of each continuous latent that are not active.
        levels: Figures of single latents: rate and active units of each if there are several, and the use of discrete ones.
        standard_errors: Standard error of every figure by name, including those in ``levels``.
        notes: What every figure is, and the limits of its estimator.
        num_data: Number of data in the aggregate posterior, N.
        num_codes: Number of codes scored.
        num_draws: Number of prior draws.
        quantile: Share of codes that count as outside the codes by definition, and of prior draws as outside the prior.
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
    approximation_gap: float
    amortization_gap: float
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
        frame, notes, _ = self._shown()
        width = max(map(len, frame.index))
        lines = [f"{name:<{width}}  {value:>9}  {se:>8}  {note}" for name, value, se, note in frame.itertuples(name=None)]
        return "\n".join([f"{'':<{width}}  {'value':>9}  {'se':>8}", *lines, *notes])

    def _shown(self) -> Shown:
        frame = self.to_frame()
        values = map(_value, frame.index, frame["value"], frame["se"])
        texts = {"value": list(values), "se": list(map(format_error, frame["se"])), "note": frame["note"]}
        sizes = f"{self.num_data} data, {self.num_codes} codes and {self.num_draws} prior draws scored, seed {self.seed}."
        collapsed = [f"Collapsed units of {name}: {', '.join(map(str, units))}." for name, units in self.collapsed.items() if units]
        notes = [f"{sizes} Rates, divergences, distortion and gaps are in nats.", *collapsed]
        return Shown(pd.DataFrame(texts, index=frame.index), notes, prose=["note"])


def _value(name: str, value: float, error: float) -> str:
    return f"{value:.0f}" if name.startswith("active_units") else format_value(value, error)


def diagnose(
    pair: object,
    data: Any,
    *,
    quantile: float = 0.01,
    num_draws: int | None = None,
    seed: int = 0,
    chunk_size: int | None = None,
    progress: bool = True,
) -> Diagnosis:
    r"""Compare the codes of data with the prior, and decompose the rate and what the ELBO lacks.

    A prior draw lies outside the codes if the aggregate posterior's density there is below the ``quantile`` quantile of that
    density at codes of held-out data: ten folds, each scored under the mixture of the other nine. A code lies outside the prior
    if log p(z) there is below the quantile of log p at prior draws. If prior and codes agree, both shares are the quantile, or less
    for discrete codes, where equal masses do not count as below each other.

    .. math:: q(z) = \frac{1}{N} \sum_{n=1}^N q(z \mid x_n), \quad
        \mathrm{MI} = \frac{1}{N} \sum_n E_{q(z \mid x_n)} \left[ \log \frac{q(z \mid x_n)}{q(z)} \right] \le \log N

    The mixture is over all N data. Codes are drawn for random data, several for each datum if N is below ``num_draws``. Several
    latents form one joint code. Memory does not grow with the number of codes times N.

    How far the ELBO lies below log p(x) is estimated for at most 256 random data by :func:`~inference.scoring.importance.evaluate` with
    refined proposals and 1000 draws, and split in two by the ELBO of the normal distribution r that is fitted to p(z|x) of each datum:

    .. math:: \log p(x) - \mathrm{ELBO}(q) =
        \left[ \log p(x) - \mathrm{ELBO}(r) \right] + \left[ \mathrm{ELBO}(r) - \mathrm{ELBO}(q) \right]

    They are named the approximation gap and the amortization gap.

    Several processes divide the densities of the aggregate posterior and the data that are scored, as in
    :func:`~inference.scoring.importance.evaluate`, and all get the same diagnosis.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``.
        data: A tensor, an array or a table ``[N, *X]``, a tuple of these with the observations first, a torch Dataset, a loader or
            another iterable of batches, or what :func:`~inference.data.load.load_data` returns, of which the test data are used.
        quantile: Share of codes that count as outside the codes by definition.
        num_draws: Number of prior draws and, approximately, of codes; by default 10 000, or 1000 unless q(z|x) is a normal
            distribution of one vector, as the guide itself must then score every code for every datum.
        seed: Seed of codes, draws, folds and classifier.
        chunk_size: Largest number of codes times data at once.
        progress: Whether to show a progress bar.

    Returns:
        The figures with their standard errors.

    Raises:
        ValueError: If the pair breaks the contract of a pair or has no likelihood per datum, its prior depends on the datum, its
            guide has auxiliary draws, there are too few data or draws for the quantile, or a log density is not finite.

    References:
        Hoffman, Johnson (2016), ELBO surgery. http://approximateinference.org/accepted/HoffmanJohnson2016.pdf

        Chen et al. (2018), Isolating Sources of Disentanglement in VAEs. https://arxiv.org/abs/1802.04942

        Cremer, Li, Duvenaud (2018), Inference Suboptimality in Variational Autoencoders. https://arxiv.org/abs/1801.03558
    """
    batch = read_batch(pair, (data,))
    size = check_batch(*batch)
    check_counts(num_draws=num_draws, chunk_size=chunk_size)
    check_seeds(seed=seed)
    _check_quantile(quantile, size, num_draws)
    join(batch[0].device)
    with scoring(pair, batch[0].device):
        few = tuple(x[:2] for x in batch)
        structure, layout = diagnosable(pair, batch), choose_layout(pair, batch)
        num_draws = num_draws or (_NUM_DRAWS if is_matrix_form(pair, few) else _NUM_DRAWS_SLOW)
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed)).to(batch[0].device)
        chunk_size = chunk_size or CHUNK_SIZE
        sample = _sample(pair, batch, order, structure, layout, num_draws, seed, chunk_size, progress and is_first())
        figures = rate_figures(sample, size) | hole_figures(sample, quantile, seed)
        dimensions, dimension_kls = dimension_figures(pair, batch, structure, sample, chunk_size)
        levels, units = level_figures(pair, batch, order[:num_draws], structure, sample, layout, seed)
    gaps = gap_figures(pair, tuple(x[order[:MOST_DATA]] for x in batch), seed)
    figures |= dimensions | gaps | {"active_units": total_units(units)}
    return Diagnosis(
        **_fields(figures, levels, dimension_kls, units),
        num_data=size,
        num_codes=sample.log_q.numel(),
        num_draws=num_draws,
        quantile=quantile,
        seed=seed,
    )


def _fields(figures: dict[str, Figure], levels: dict[str, Figure], dimension_kls: list[Figure], units: dict[str, Units]) -> dict[str, Any]:
    return dict(
        **{name: figures[name].value for name in FIGURES},
        dimension_kls=torch.tensor([figure.value for figure in dimension_kls], dtype=torch.float64),
        dimension_kl_errors=torch.tensor([figure.error for figure in dimension_kls], dtype=torch.float64),
        unit_variances={name: unit.variance for name, unit in units.items()},
        collapsed={name: unit.collapsed for name, unit in units.items()},
        levels={name: figure.value for name, figure in levels.items()},
        standard_errors={name: figure.error for name, figure in (figures | levels).items()},
        notes={name: figure.note for name, figure in (figures | levels).items()},
    )


def _check_quantile(quantile: float, num_data: int, num_draws: int | None) -> None:
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must lie between 0 and 1; got {quantile}. Take 0.01 for the outermost hundredth.")
    for name, count in (("data", num_data), ("num_draws", num_draws)):
        if count is not None and count < 2 * NUM_FOLDS:
            raise ValueError(f"{name} must number at least {2 * NUM_FOLDS}, two for each of {NUM_FOLDS} folds; got {count}. Take more.")
        if count is not None and count < 1 / quantile - 1e-9:
            raise ValueError(
                f"{name} must number at least {math.ceil(1 / quantile - 1e-9)} for quantile {quantile}; got {count}. Take more, or a "
                f"larger quantile, such as {1 / (2 * NUM_FOLDS):g}."
            )


def _sample(
    pair: object,
    batch: Batch,
    order: Tensor,
    structure: Structure,
    layout: Layout,
    num_draws: int,
    seed: int,
    chunk_size: int,
    progress: bool,
) -> Sample:
    """Codes of the first rows in ``order``, prior draws, and the aggregate posterior at both."""
    rows, num_particles = order[:num_draws], max(1, num_draws // len(order))
    codes = draw_codes(pair, batch, structure, rows, num_particles, layout, seed)
    check_one_prior(pair, batch, rows, codes, layout)
    draws, log_p_draws = draw_prior(pair, batch, num_draws, structure.latents, layout, seed)
    points = {name: torch.cat([codes.latents[name].flatten(0, 1), draws[name]]) for name in structure.latents}
    folds = [order[g::NUM_FOLDS] for g in range(NUM_FOLDS)]
    sums = log_fold_sums(pair, batch, folds, points, layout, chunk_size=chunk_size, progress=progress)  # [G, P]
    left = leave_out(sums, torch.tensor([len(fold) for fold in folds]))  # [G, P]
    return _scored(codes, draws, log_p_draws, sums.logsumexp(0) - math.log(len(order)), left)


def _scored(codes: Codes, draws: Latents, log_p_draws: Tensor, log_q: Tensor, left: Tensor) -> Sample:
    """Split the aggregate posterior's densities into those at the codes, which come first, and those at the draws."""
    shape = codes.log_q.shape
    index = torch.arange(shape.numel(), device=log_q.device)
    own_fold = index % shape[1] % NUM_FOLDS
    return Sample(
        codes=codes,
        draws=draws,
        log_q=log_q[: len(index)].reshape(shape),
        log_q_held_out=left[own_fold, index].reshape(shape),
        log_p_draws=log_p_draws,
        log_q_draws=log_q[len(index) :],
        log_q_draws_left=left[:, len(index) :],
    )
