"""Comparisons of recipes, each fitted with several seeds: what differs by more than two fits of one recipe do."""

from collections.abc import Iterator, Mapping, Sequence
from math import hypot, isnan, nan
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from inference.comparison.table import Comparison, check_evaluations
from inference.formatting import format_bias
from inference.scoring.evaluation import Evaluation
from inference.scoring.intervals import Interval, student_quantile
from inference.scoring.reduction import standard_error_of_mean


class RecipeDifference(NamedTuple):
    """The mean of log p(x) under one recipe minus that under another, over data and seeds, in nats.

    Attributes:
        mean: The difference of the means over all fits and data.
        data_error: Its standard error over the data, which are the same for all fits.
        fits_error: Its standard error over the fits; NaN if a recipe has only one.
        standard_error: Both together; NaN if a recipe has only one fit.
        interval: 95% interval, extended by what the biases of the estimates may explain; NaN if a recipe has only one fit.
    """

    mean: float
    data_error: float
    fits_error: float
    standard_error: float
    interval: Interval[float]

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval.lower > 0 or self.interval.upper < 0


def compare_recipes(groups: Mapping[str, Sequence[Evaluation]]) -> Comparison:
    r"""Compare recipes by the mean log-likelihood of the same data under several fits of each, which differ in their seeds.

    With the mean :math:`m_{rf}` of fit f of recipe r over the N data, and :math:`d_n` the difference of the two recipes' means over their
    fits at datum n,

    .. math::
        \mathrm{difference} = \bar m_r - \bar m_s, \quad
        \mathrm{se}^2 = \underbrace{\mathrm{var}_n(d_n) / N}_{\mathrm{data}}
            + \underbrace{\mathrm{var}_f(m_{rf}) / F_r + \mathrm{var}_f(m_{sf}) / F_s}_{\mathrm{fits}}

    The interval is that of Student's t with the degrees of freedom of Welch and Satterthwaite; as in
    :func:`~inference.comparison.differences.paired`, the biases of the estimates extend it.

    Args:
        groups: Evaluations of all fits by the name of their recipe, all of the same data.

    Returns:
        One row per recipe, best first, with the columns ``log_px``, the mean over fits and data, ``se`` over the data, ``fits``, their
        number, ``fit_sd``, the standard deviation of their means, ``difference`` from the best with ``data_se``, ``fits_se`` and both
        together, ``difference_se``; ``lower`` and ``upper``, the 95% interval of the difference; and the largest ``bad_k``.

    Raises:
        ValueError: If there is nothing to compare, or the evaluations are not of the same data and measure.
    """
    named = {f"{name} ({number})": score for name, scores in groups.items() for number, score in enumerate(scores, start=1)}
    check_evaluations(named)
    if empty := [name for name, scores in groups.items() if not scores]:
        raise ValueError(f"every recipe must have an evaluation; {empty[0]!r} has none. Leave it out, or fit it.")
    names = sorted(groups, key=lambda name: float(_means(groups[name]).mean()), reverse=True)
    best = groups[names[0]]
    differences = {name: difference_of(groups[name], best) for name in names[1:]}
    table = Comparison([_row(groups[name], differences.get(name)) for name in names], index=pd.Index(names, name="recipe"))
    size = len(best[0].log_px)
    table.attrs = {"num_data": size, "fewer": [], "differences": differences}
    table.attrs["bounds"] = [name for name in names if any(score.is_bound for score in groups[name])]
    table.attrs["notes"] = list(_notes(table, groups, size))
    return table


def difference_of(scores: Sequence[Evaluation], others: Sequence[Evaluation]) -> RecipeDifference:
    """Compare the fits of two recipes; see :func:`compare_recipes`."""
    values = _by_datum(scores) - _by_datum(others)
    data_error = standard_error_of_mean(values)
    errors, degrees = [data_error], [len(values) - 1]
    for fits in (scores, others):
        errors.append(standard_error_of_mean(_means(fits)) if len(fits) > 1 else nan)
        degrees.append(len(fits) - 1)
    fits_error = hypot(*errors[1:])
    error, mean = hypot(data_error, fits_error), float(values.mean())
    if isnan(error):
        return RecipeDifference(mean, data_error, fits_error, error, Interval(nan, nan))
    reach = _student(errors, degrees) * error
    bias, other_bias = _bias(scores), _bias(others)
    return RecipeDifference(mean, data_error, fits_error, error, Interval(mean + other_bias - reach, mean - bias + reach))


def _student(errors: list[float], degrees: list[int]) -> float:
    """Return the t quantile for the sum of independent errors, by Welch and Satterthwaite."""
    total = sum(error**2 for error in errors)
    if total == 0:
        return 0.0
    return float(student_quantile(total**2 / sum(error**4 / count for error, count in zip(errors, degrees, strict=True))))


def _by_datum(scores: Sequence[Evaluation]) -> Tensor:
    return torch.stack([score.log_px for score in scores]).mean(0)


def _means(scores: Sequence[Evaluation]) -> Tensor:
    return torch.stack([score.log_px.mean() for score in scores])


def _bias(scores: Sequence[Evaluation]) -> float:
    return float(torch.stack([score.draw_errors.bias.nan_to_num(0.0) for score in scores]).mean())


def _row(scores: Sequence[Evaluation], difference: RecipeDifference | None) -> dict[str, float]:
    means = _means(scores)
    gap = difference or RecipeDifference(0.0, 0.0, 0.0, 0.0, Interval(0.0, 0.0))
    return {
        "log_px": float(means.mean()),
        "se": standard_error_of_mean(_by_datum(scores)),
        "fits": len(scores),
        "fit_sd": float(means.std()) if len(scores) > 1 else nan,
        "difference": gap.mean,
        "difference_se": gap.standard_error,
        "data_se": gap.data_error,
        "fits_se": gap.fits_error,
        "lower": gap.interval.lower,
        "upper": gap.interval.upper,
        "bad_k": max(score.bad_k_share for score in scores),
    }


def _notes(table: Comparison, groups: Mapping[str, Sequence[Evaluation]], size: int) -> Iterator[str]:
    best, differences = table.index[0], table.attrs["differences"]
    yield f"Means over {size} data and over fits with different seeds, in nats; difference_se holds the scatter of both."
    if bounds := table.attrs["bounds"]:
        yield f"{', '.join(bounds)}: only a lower bound on log p(x)."
    if biases := {name: _bias(scores) for name, scores in groups.items() if _bias(scores)}:
        yield f"Biases, not subtracted: {', '.join(f'{name} {format_bias(bias)}' for name, bias in biases.items())}."
    if single := [name for name, scores in groups.items() if len(scores) == 1]:
        yield f"{', '.join(single)}: one fit, so that nothing is known of the scatter over fits; another seed may differ by more than se."
    unclear = [name for name, gap in differences.items() if not isnan(gap.standard_error) and not gap.is_clear]
    if unclear:
        yield f"At 95%, the difference of the recipes from {best} may be zero: {', '.join(unclear)}."
