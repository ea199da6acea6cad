"""Held-out log-likelihoods of several models side by side, with paired differences."""

from collections.abc import Iterator, Mapping
from itertools import repeat
from math import log, nan

import pandas as pd

from inference.comparison.beating import best_yardstick, in_words, not_beaten
from inference.comparison.differences import Difference, heavy_tail, paired
from inference.formatting import format_bias, format_error, format_fitted, format_share, format_value, markdown_table
from inference.markup import Record, Shown
from inference.scoring.evaluation import Evaluation
from inference.scoring.reduction import standard_error_of_mean

UNITS = ("nats", "bits/dim")
ONE_FIT = "These are single fits: another seed of a recipe may differ by more than these errors, which are over data and draws."
_ERROR_OF = {
    "log_px": "se",
    "bits_per_dim": "se",
    "difference": "difference_se",
    "elbo": "elbo_se",
    "elbo_bits_per_dim": "elbo_se",
    "lower": "difference_se",
    "upper": "difference_se",
}
_ERRORS = ("mc_error", "fit_sd", "data_se", "fits_se", *_ERROR_OF.values())
_OF_DRAWS = ("mc_error", "bias", "bad_k")  # which exact values have none of
_REMEDIES = {
    "data_id": "Evaluate all models on the same data in the same order.",
    "measure": "A density and a probability mass have different units; use one kind of likelihood.",
    "num_dims": "Compare models that observe the same elements of the data, evaluated by one version of this library.",
}


class Comparison(Record, pd.DataFrame):
    """A data frame of numbers in full precision, best model first, that is printed without digits beyond the standard error.

    When printed, a value is rounded at the leading digit of its own ``*se`` column, and an error has two significant digits. These
    errors are over the data and include the scatter of the draws, so ``mc_error``, the part that more particles would remove, is not
    added to them; ``bias``, which they do not include, is not subtracted from any figure. Frames that pandas derives from a
    comparison are plain data frames.
    """

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    @property
    def notes(self) -> tuple[str, ...]:
        """What one must know to read the table correctly."""
        return tuple(self.attrs["notes"])

    def formatted(self) -> pd.DataFrame:
        """The table as it is printed, as a plain data frame of strings."""
        table = pd.DataFrame({name: self._texts(name) for name in self.columns}, index=self.index)
        table.loc[self.index.isin(self.attrs.get("exact", ())), table.columns.isin(_OF_DRAWS)] = ""
        return table

    def to_markdown(self) -> str:
        """The table as it is printed, in Markdown, followed by its notes."""
        return "\n\n".join([markdown_table(self.formatted()), *self.notes])

    def __repr__(self) -> str:
        return "\n".join([self.formatted().to_string(index_names=False), *self.notes])

    def _shown(self) -> Shown:
        return Shown(self.formatted(), self.notes)

    def _texts(self, name: str) -> list[str]:
        column = self[name]
        if name in _ERROR_OF:
            return list(map(format_value, column, self.get(_ERROR_OF[name], repeat(nan))))
        if name in _ERRORS:
            return list(map(format_error, column))
        if name == "bias":
            return list(map(format_bias, column))
        if name == "bad_k":
            return [format_share(share, self.attrs["num_data"]) for share in column]
        if name == "num_particles":
            exact = self.attrs.get("exact", ())
            return ["exact" if model in exact else f"{k}*" if model in self.attrs["fewer"] else f"{k}" for model, k in column.items()]
        return ["yes" if cell else "" for cell in column] if name == "is_bound" else list(map(str, column))


def compare(evaluations: Mapping[str, Evaluation], *, unit: str = "nats", yardsticks: Mapping[str, str] | None = None) -> Comparison:
    r"""Compare models by the mean log-likelihood of the same held-out data.

    .. math::
        \mathrm{difference} = \frac{1}{N} \sum_n d_n, \quad
        d_n = \log \hat p(x_n) - \log \hat p_{\mathrm{best}}(x_n), \quad
        \mathrm{difference\_se} = \mathrm{std}(d) / \sqrt{N}

    Differences are paired, datum by datum: their errors are far below those of the means, whose scatter comes mostly from the data and
    is common to all models. A note names the models that cannot be told apart from the best one: zero lies in the 95% interval of the
    difference, :func:`~inference.comparison.differences.paired`, which allows for few data and for the biases of both estimates.

    Args:
        evaluations: Evaluations by name, all of the same data.
        unit: ``"nats"``, or ``"bits/dim"`` for :math:`-\log_2 \hat p(x)` per dimension of x.
        yardsticks: Names among these of classical models which the others have to beat, with what each was fitted with in words, such as
            ``{"factor-analysis": "with 8 latents"}``; notes say which models do not beat the best of them.

    Returns:
        One row per evaluation, best first, with the columns ``log_px`` and ``se``, its standard error over the data, ``difference`` from
        the best model and ``difference_se``, ``mc_error`` (the standard error of ``log_px`` over the draws alone, by the delta method),
        ``bias`` (that of ``log_px`` due to the draws, estimated; NaN for bounds), ``bad_k`` (the share of data with an unreliable k-hat;
        NaN for bounds and for K <= 20), ``elbo``, ``elbo_se``, ``num_particles`` and ``is_bound``. In bits/dim,
        ``bits_per_dim`` and ``elbo_bits_per_dim`` replace ``log_px`` and ``elbo``, and less is better.

    Raises:
        ValueError: If there is nothing to compare, the evaluations are not of the same data and measure, or the unit is unknown.
    """
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {UNITS}; got {unit!r}. Choose one of them.")
    check_evaluations(evaluations)
    yardsticks = yardsticks or {}
    if unknown := [name for name in yardsticks if name not in evaluations]:
        raise ValueError(f"yardsticks must be names of evaluations; got {unknown[0]!r}. Evaluate it, or leave it out.")
    names = sorted(evaluations, key=lambda name: evaluations[name].mean, reverse=True)
    first = next((name for name in names if name not in yardsticks), names[0])
    best = evaluations[first]
    differences = {name: paired(evaluations[name], best) for name in names if name != first}
    rows = [_row(evaluations[name], differences.get(name)) for name in names]
    table = pd.DataFrame(rows, index=pd.Index(names, name="model"))
    comparison = Comparison(table if unit == "nats" else _in_bits(table, best.num_dims))
    rounded = {name: score.rounding_error for name, score in evaluations.items() if score.precision != "full"}
    exact = [name for name in names if evaluations[name].is_exact]
    comparison.attrs = {"num_data": len(best.log_px), "fewer": _sampled_less(evaluations), "exact": exact, "rounded": rounded}
    comparison.attrs["given"] = {name: score.given_id for name, score in evaluations.items()}
    comparison.attrs["fitted"] = {name: num for name in names if (num := evaluations[name].num_fitted)}
    comparison.attrs["annealed"] = {name: score.num_steps for name, score in evaluations.items() if score.num_steps}
    comparison.attrs["best"], comparison.attrs["differences"] = first, differences
    comparison.attrs["bounds"] = [name for name in names if evaluations[name].is_bound]
    comparison.attrs["bits_note"] = next(filter(None, (score.bits_note for score in evaluations.values())), "")
    comparison.attrs["notes"] = [*_notes(comparison, unit), *_beside_yardsticks(evaluations, yardsticks, first)]
    return comparison


def _beside_yardsticks(evaluations: Mapping[str, Evaluation], yardsticks: Mapping[str, str], first: str) -> Iterator[str]:
    """Say what the yardsticks are, and which models do not beat the best of them; ``first`` was compared with all already."""
    best = best_yardstick(evaluations, yardsticks)
    if best is None:
        return
    yield f"Yardsticks, classical models fitted to the same data: {', '.join(in_words(name, yardsticks) for name in yardsticks)}."
    gaps = {name: paired(score, evaluations[best]) for name, score in evaluations.items() if name not in yardsticks}
    for name, gap in gaps.items():
        if name != first and (note := heavy_tail(gap)):
            yield f"{name} and {best}: {note}"
    yield from not_beaten(gaps, [name for name in gaps if evaluations[name].is_bound], in_words(best, yardsticks))


def check_evaluations(evaluations: Mapping[str, Evaluation]) -> None:
    """Check that evaluations can be compared.

    Raises:
        ValueError: If there are none, or they are not of the same data and measure.
    """
    if not isinstance(evaluations, Mapping) or not evaluations:
        got = f"{type(evaluations).__name__} {evaluations!r}"
        raise ValueError(f"evaluations must be a dict that is not empty; got {got}. Give each model a name.")
    for name, evaluation in evaluations.items():
        if not isinstance(evaluation, Evaluation):
            got = type(evaluation).__name__
            raise ValueError(f"'{name}' must be an Evaluation; got {got}. Use evaluate(pair, data).")
    for field, remedy in _REMEDIES.items():
        found = {name: getattr(evaluation, field) for name, evaluation in evaluations.items()}
        if len(set(found.values())) > 1:
            raise ValueError(f"{field} must be the same everywhere; got {found}. {remedy}")
    sizes = {name: len(evaluation.log_px) for name, evaluation in evaluations.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"log_px must have the same length everywhere; got {sizes}. {_REMEDIES['data_id']}")


def _row(evaluation: Evaluation, difference: Difference | None) -> dict[str, float | int | bool]:
    return {
        "log_px": evaluation.mean,
        "se": evaluation.standard_error,
        "difference": difference.mean if difference else 0.0,
        "difference_se": difference.standard_error if difference else 0.0,
        "mc_error": evaluation.mc_standard_error,
        "bias": evaluation.bias_of_mean,
        "bad_k": evaluation.bad_k_share,
        "elbo": float(evaluation.elbo.mean()),
        "elbo_se": standard_error_of_mean(evaluation.elbo),
        "num_particles": evaluation.num_particles,
        "is_bound": evaluation.is_bound,
    }


def _in_bits(table: pd.DataFrame, num_dims: float) -> pd.DataFrame:
    """The same table in bits per dimension, where less is better."""
    nats_per_bit = num_dims * log(2)
    table[["log_px", "difference", "bias", "elbo"]] /= -nats_per_bit
    table[["se", "difference_se", "mc_error", "elbo_se"]] /= nats_per_bit
    return table.rename(columns={"log_px": "bits_per_dim", "elbo": "elbo_bits_per_dim"})


def _sampled_less(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """Names of the estimates with fewer particles than another; bounds, exact values and chains, which are no mere draws, are left out."""
    counts = {name: score.num_particles for name, score in evaluations.items() if not (score.is_bound or score.is_exact or score.num_steps)}
    return [name for name, count in counts.items() if count < max(counts.values())]


def _notes(comparison: Comparison, unit: str) -> Iterator[str]:
    bounds, exact = comparison["is_bound"], comparison.index.isin(comparison.attrs["exact"])
    direction = "" if unit == "nats" else "; less is better"
    count = comparison.attrs["num_data"]
    yield f"Means over {count} data in {unit}{direction}." if count > 1 else f"Of one datum, in {unit}{direction}: no error can be given."
    if unit != "nats" and comparison.attrs["bits_note"]:
        yield f"Bits {comparison.attrs['bits_note']}."
    if exact.any():
        yield f"{', '.join(comparison.attrs['exact'])}: no latent is drawn, so log p(x) is exact."
    if not (bounds | exact).all():
        yield "An estimate of log p(x) is a lower bound in expectation: off by about bias, which is not subtracted."
    if comparison.attrs["fewer"]:
        yield "num_particles*: fewer than for another estimate, which by itself lowers log p(x)."
    fitted: dict[str, int] = comparison.attrs["fitted"]
    for num in dict.fromkeys(fitted.values()):
        names, rows = ", ".join(name for name, own in fitted.items() if own == num), format_fitted(num, comparison.attrs["num_data"])
        yield f"{names}: {rows}, where more flexible models score higher; other data may score much lower."
    given = comparison.attrs["given"]
    if len(set(given.values())) > 1:
        names = ", ".join(name for name, known in given.items() if known)
        different = ", which differ between them" if len(set(filter(None, given.values()))) > 1 else ""
        yield (
            f"{names}: log p(x) given arguments of the pair that it does not observe, such as labels or totals{different}. Models that "
            "are given more know more of x: a difference also holds what these say about x."
        )
    for name, num_steps in comparison.attrs["annealed"].items():
        yield f"{name}: annealed importance sampling; each particle is a chain of {num_steps} steps."
    for name, error in comparison.attrs["rounded"].items():
        yield f"{name}: products in bfloat16; where measured, log p(x) of a datum is off by {format_error(error)} nats at most."
    if bounds.sum() > 1:
        yield "A difference of two bounds is no bound on the difference of log p(x)."
    differences: dict[str, Difference] = comparison.attrs["differences"]
    best = comparison.attrs["best"]
    if unclear := [name for name, difference in differences.items() if not difference.is_clear]:
        yield f"At 95%, with biases allowed for, the difference from {best} may be zero: {', '.join(unclear)}."
    for name, difference in differences.items():
        if note := heavy_tail(difference):
            yield f"{name} and {best}: {note}"
    if 0 < bounds.sum() < len(bounds):
        yield ("A bound that beats an estimate shows the better model, if that estimate is right; one that loses shows nothing.")
    if (comparison["bad_k"] > 0).any():
        yield "bad_k: k-hat above min(1 - 1/log10 K, 0.7); log p(x) is unreliable there, most often too low."
    if (comparison["bad_k"].isna() & ~bounds & ~exact).any():
        yield "bad_k is blank where 20 particles or fewer are too few for k-hat."
    if len(comparison) > 1:
        yield ONE_FIT
