"""Tests of uniformity with exact p-values: mean and variance of normal scores, and the distribution function where it is least probable."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

NUM_POINTS = 100  # at which the distribution function is compared
_FARTHEST = 7.0  # logarithm of a scale, beyond which ranks no longer change
_ROUNDING = 1e-9  # relative, of probabilities that are equal


class Band(NamedTuple):
    """Counts between which the empirical distribution function of uniform values stays at all points with a stated probability.

    Attributes:
        points: Points in (0, 1), ``[J]``.
        low: Smallest number of values below each point, ``[J]``.
        high: Largest number, ``[J]``.
    """

    points: np.ndarray
    low: np.ndarray
    high: np.ndarray


def shift_p_values(scores: np.ndarray) -> np.ndarray:
    r"""Test that normal scores ``[N, Q]`` have mean zero: under uniformity, :math:`\sqrt{N} \bar y \sim N(0, 1)` exactly."""
    return 2 * stats.norm.sf(np.abs(scores.mean(0)) * len(scores) ** 0.5)


def scale_p_values(scores: np.ndarray) -> np.ndarray:
    r"""Test that normal scores ``[N, Q]`` have variance one: under uniformity, :math:`\sum (y - \bar y)^2 \sim \chi^2_{N-1}` exactly."""
    squares, law = scores.var(0) * len(scores), stats.chi2(len(scores) - 1)
    return np.minimum(1.0, 2 * np.minimum(law.cdf(squares), law.sf(squares)))


def shape_p_values(positions: np.ndarray) -> np.ndarray:
    r"""Test that positions ``[N, Q]`` are uniform by the point at which their distribution function is least probable.

    .. math:: \gamma = 2 \min_j \min\{P(C_j \le c_j), P(C_j \ge c_j)\}, \quad C_j \sim \mathrm{Binomial}(N, u_j)

    where :math:`c_j` positions lie below :math:`u_j`. The p-value is the exact probability of a :math:`\gamma` as small among uniform ones.

    References:
        Säilynoja, Bürkner, Vehtari (2022), Graphical test for discrete uniformity and its applications in goodness-of-fit evaluation and
        multiple sample comparison. https://arxiv.org/abs/2103.10522
    """
    points = _points()
    counts = np.stack([np.searchsorted(np.sort(column), points) for column in positions.T])  # [Q, J]
    tails = np.minimum(stats.binom.cdf(counts, len(positions), points), stats.binom.sf(counts - 1, len(positions), points))
    step = _increments(len(positions))
    return np.array([_p_value(len(positions), float(gamma), step) for gamma in np.minimum(1.0, 2 * tails.min(1))])


def band(size: int, level: float) -> Band:
    """Return the band that the distribution function of ``size`` uniform values leaves with a probability of at most ``level``."""
    low, high, step = np.log(level) - 20.0, np.log(level), _increments(size)  # between which the pointwise level lies
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _p_value(size, np.exp(middle), step) <= level else (low, middle)
    return Band(_points(), *_bounds(size, np.exp(low)))


def detectable_scales(size: int, num_draws: int, level: float, power: float = 0.95) -> list[float]:
    """Return the scales below and above one that the test of variance finds with probability ``power``, of normal guides and posteriors.

    The sum of squared scores is taken for a multiple of a chi-square variable with the same mean and variance.

    Args:
        size: Number of data, N.
        num_draws: Draws from the guide for each, L; few of them pull ranks towards uniform ones.
        level: The p-value up to which the test counts.
        power: Probability of a finding.

    Returns:
        A scale below one and one above, if there are any.
    """
    law, moments = stats.chi2(size - 1), _moments(num_draws)

    def lacking(log_scale: float) -> float:
        variance, fourth = moments(np.exp(log_scale))
        freedom = 2 / ((fourth / variance**2 - 3) / size + 2 / (size - 1))
        unit, squares = variance * (size - 1) / freedom, stats.chi2(freedom)
        return power - (squares.sf(law.isf(level / 2) / unit) if log_scale < 0 else squares.cdf(law.ppf(level / 2) / unit))

    ends = [end for end in (-_FARTHEST, _FARTHEST) if lacking(end) < 0]
    return [float(np.exp(optimize.brentq(lacking, end, np.copysign(1e-9, end)))) for end in ends]


def _moments(num_draws: int) -> Callable[[float], np.ndarray]:
    """Return a function of a guide's scale: second and fourth moment of the scores of ranks among draws, where the posterior is normal."""
    cuts = special.ndtri(np.arange(1, num_draws + 1) / (num_draws + 1))  # of the scores of neighboring ranks
    density, share = stats.norm.pdf(cuts), 1 / (num_draws + 1)
    integrals = (share - _steps(cuts * density), 3 * share - _steps((cuts**3 + 3 * cuts) * density))  # of y^2 and y^4, by rank
    places = np.linspace(-8.0, 8.0, 401)  # of the truth, in units of the guide
    law = stats.binom.pmf(np.arange(num_draws + 1), num_draws, special.ndtr(places)[:, None])  # of ranks, [places, 1 + L]
    second, fourth = (law @ integral * (num_draws + 1) for integral in integrals)
    truths = special.ndtri((np.arange(2000) + 0.5) / 2000)
    return lambda scale: np.array([np.interp(truths / scale, places, values).mean() for values in (second, fourth)])


def _steps(values: np.ndarray) -> np.ndarray:
    """Return the differences of a function that is zero at both ends."""
    return np.diff(values, prepend=0.0, append=0.0)


def normal_scores(positions: np.ndarray) -> np.ndarray:
    """Return standard normal quantiles of positions in (0, 1)."""
    return special.ndtri(positions)


def _points() -> np.ndarray:
    return np.arange(1, NUM_POINTS) / NUM_POINTS


def _bounds(size: int, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and greatest counts at each point whose tails both exceed ``gamma / 2``."""
    low = stats.binom.ppf(gamma / 2, size, _points())
    low += stats.binom.cdf(low, size, _points()) <= gamma / 2 * (1 + _ROUNDING)
    low = low.clip(0, size).astype(int)
    return low, size - low[::-1]


def _p_value(size: int, gamma: float, step: np.ndarray) -> float:
    r"""Return the probability that the counts of uniform values leave their bounds at some point.

    Counts in equal intervals are independent Poisson counts given their sum, so that one convolution for each interval is enough.
    """
    low, high = _bounds(size, gamma)
    if (low > high).any():
        return 1.0
    inside, start = np.ones(1), 0
    for least, most in zip(low, high, strict=True):
        inside = np.convolve(inside, step[: most - start + 1])[least - start : most - start + 1]
        start = least
    rest = step[size - start - np.arange(len(inside))]
    return float(np.clip(1 - inside @ rest / stats.poisson.pmf(size, size), 0.0, 1.0))


def _increments(size: int) -> np.ndarray:
    """Return the probabilities of 0 to N counts in one of the intervals."""
    return stats.poisson.pmf(np.arange(size + 1), size / NUM_POINTS)
