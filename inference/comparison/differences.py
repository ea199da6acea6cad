"""Paired differences of log-likelihoods: an interval that allows for few data and for biases, and a word on heavy tails."""

from math import hypot, inf, isnan, nan
from typing import NamedTuple

from torch import Tensor

from inference.scoring.evaluation import Evaluation
from inference.scoring.intervals import Interval, student_quantile
from inference.scoring.pareto import pareto_k
from inference.scoring.reduction import standard_error_of_mean

_FEWEST = 20  # data from which on few of them are said to decide; of 10 normal values, one or two often do
_FEWEST_FOR_SHAPE = 100  # data from which on the tail is long enough for k-hat
_FEW = 1 / 50  # share of the data; half of the squared deviations of normal values come from an eighth of them
_NO_VARIANCE, _NO_MEAN = 0.5, 0.7  # k-hat above which the error, and the mean itself, cannot be relied on


class Difference(NamedTuple):
    """The mean of log p-hat(x) of one model minus that of another, over the same N data, in nats.

    Attributes:
        mean: The mean difference.
        standard_error: Its standard error over the data, which includes the scatter of the draws.
        scatter_interval: Interval of the mean by Student's t, as if both estimates were unbiased.
        interval: The same, extended by what the biases of both estimates may explain.
        pareto_k: Pareto shape of the tail of the absolute deviations from the median; NaN below 100 data.
        num_deciding: How many data, those of the largest deviations, make up half of the sum of squares.
        size: Number of data N.
    """

    mean: float
    standard_error: float
    scatter_interval: Interval[float]
    interval: Interval[float]
    pareto_k: float
    num_deciding: int
    size: int

    @property
    def exceeds_scatter(self) -> bool:
        """Whether the difference is more than the scatter of the data and of the draws."""
        return not_zero(self.scatter_interval)

    @property
    def is_clear(self) -> bool:
        """Whether the difference is also more than the biases may explain."""
        return not_zero(self.interval)


def paired(evaluation: Evaluation, other: Evaluation) -> Difference:
    r"""Compare two evaluations of the same data, datum by datum.

    .. math::
        \left[\bar d + B' - t \sqrt{s^2 + s_{B'}^2},\; \bar d - B + t \sqrt{s^2 + s_B^2}\right], \quad
        d_n = \log \hat p(x_n) - \log \hat p'(x_n)

    Here t is Student's with N - 1 degrees of freedom, s the standard error of the mean of d, and B and B' are the biases of the two means,
    0 or less, with their errors. A bias that is not known, that of a bound, counts as none.

    Args:
        evaluation: The evaluation with the estimates p-hat.
        other: That with the estimates p-hat'.
    """
    values = evaluation.log_px - other.log_px
    mean, error, size = evaluation.mean - other.mean, standard_error_of_mean(values), len(values)
    t = float(student_quantile(size - 1))
    (bias, reach), (other_bias, other_reach) = (_bias_and_reach(score, error) for score in (evaluation, other))
    return Difference(
        mean,
        error,
        Interval(mean - t * error, mean + t * error),
        Interval(mean + other_bias - t * other_reach, mean - bias + t * reach),
        *_tail(values),
        size,
    )


def heavy_tail(difference: Difference) -> str:
    """Say in a sentence whether the error of a difference rests on too few data to be relied on; an empty string if it does not."""
    is_decided_by_few = difference.size >= _FEWEST and difference.num_deciding <= max(1, _FEW * difference.size)
    if not (difference.pareto_k > _NO_VARIANCE or is_decided_by_few):
        return ""
    few = f"{difference.num_deciding} of {difference.size} data make up half of the scatter of the difference"
    shape = "" if isnan(difference.pareto_k) else f", and its tail has k-hat {difference.pareto_k:.2f}"
    doubt = "not even the mean can be relied on" if difference.pareto_k > _NO_MEAN else "its error may be too small"
    return f"{few}{shape}: {doubt}."


def not_zero(interval: Interval[float]) -> bool:
    """Return whether an interval excludes zero; never, if an end is NaN."""
    return interval.lower > 0 or interval.upper < 0


def _bias_and_reach(score: Evaluation, error: float) -> tuple[float, float]:
    draws = score.draw_errors
    bias, bias_error = (float(value.nan_to_num(0.0)) for value in (draws.bias, draws.bias_error))
    return bias, hypot(error, bias_error)


def _tail(values: Tensor) -> tuple[float, int]:
    """Return k-hat of the absolute deviations from the median, and the number of the largest that make up half of their squares' sum."""
    deviations = (values - values.median()).abs()
    squares = deviations.square().sort(descending=True).values.cumsum(0)
    if not 0 < float(squares[-1]) < inf:
        return nan, len(values)
    shape = float(pareto_k(deviations.log()[:, None])) if len(values) >= _FEWEST_FOR_SHAPE else nan
    return shape, int((squares < squares[-1] / 2).sum()) + 1
