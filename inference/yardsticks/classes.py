r"""Independent columns, and latent classes by expectation maximization over the cells that are not missing.

Given its class, a cell has an exponential family with statistics T(x): x and x^2 of a real number, x of a count, which is negative
binomial with a total count that all classes share, and the indicators of a code. All that the data say about the parameters of a class is
then the means of these statistics, in which every class is given ``smoothing`` rows like the whole of the training data beside its own,

.. math:: \bar T_{cf} = \frac{\sum_n r_{nc} T_f(x_n) + a \bar T_f}{\sum_n r_{nc} + a}

with the sums over the rows in which the cell is not missing. So the likelihood of the data and of these rows together rises, and
variances and probabilities stay away from zero.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaln, logsumexp
from sklearn.cluster import kmeans_plusplus
from sklearn.metrics import pairwise_distances_argmin

from inference.yardsticks.pairs import ColumnsYardstick, Part
from inference.yardsticks.rows import NotApplicable, TableOfRows, best_of, check_spread
from pyro_lvm.likelihoods.columns import ColumnValues

_HALF = 0.5  # added to the numbers of each code, and to the sum of counts, so that what was never seen is possible
_MOST_STEPS, _TOLERANCE = 200, 1e-4  # of the log-likelihood, in nats per row
_MOST_STATISTICS = 2**26  # of the training rows, half a gigabyte
_FACTORS = (1.0, 4.0, 16.0, 64.0)  # of the total counts of whole columns: within a class, counts scatter less
_LOG_SIZES = (-7.0, 10.0)  # of the total counts of negative binomials, as natural logarithms; above, they are as good as Poisson


class Statistics(NamedTuple):
    """The statistics of a table's cells.

    Attributes:
        values: T(x), shape ``[N, F]``; zero where a cell is missing.
        known: Whether a cell is not missing, 0 or 1, for each statistic, ``[N, F]``.
        base: The part of log p(x) that no parameter changes, ``[N]``.
    """

    values: np.ndarray
    known: np.ndarray
    base: np.ndarray


class Layout(NamedTuple):
    """Which statistics belong to which columns.

    Attributes:
        reals: Places of columns of real numbers; their x come first, then their x^2.
        counts: Places of columns of counts, which come next.
        codes: Places of columns of codes, whose indicators come last, column by column.
        sizes: Number of values of each column of codes.
        totals: Total counts of the columns of counts.
        loc: Means of the real columns in the training rows, which are subtracted from them first.
        scale: Their standard deviations, by which they are divided.
    """

    reals: list[int]
    counts: list[int]
    codes: list[int]
    sizes: list[int]
    totals: np.ndarray
    loc: np.ndarray
    scale: np.ndarray


def layout_of(table: TableOfRows) -> Layout:
    """Return where the statistics of a table's columns are.

    Raises:
        NotApplicable: If there are too many.
    """
    if len(table.train) * sum(max(size, 2) for size in table.sizes) > _MOST_STATISTICS:
        raise NotApplicable("rows, columns and values of these are too many")
    reals, counts, codes = table.of_kind("real"), table.of_kind("count"), table.of_kind("category", "ordinal", "binary")
    rows, totals = table.train[:, reals], np.array([total_count(column[~np.isnan(column)]) for column in table.train[:, counts].T])
    return Layout(reals, counts, codes, [table.sizes[d] for d in codes], totals, np.nanmean(rows, axis=0), np.nanstd(rows, axis=0))


def statistics(rows: np.ndarray, layout: Layout) -> Statistics:
    """Compute the statistics of rows ``[N, D]``."""
    x, counts = (rows[:, layout.reals] - layout.loc) / layout.scale, rows[:, layout.counts]
    codes = [rows[:, [d]] == np.arange(size) for d, size in zip(layout.codes, layout.sizes, strict=True)]  # each [N, V]
    is_known = [np.repeat(~np.isnan(rows[:, [d]]), size, axis=1) for d, size in zip(layout.codes, layout.sizes, strict=True)]
    values = np.concatenate([x, x**2, counts, *codes], axis=1)
    known = np.concatenate([~np.isnan(x), ~np.isnan(x), ~np.isnan(counts), *is_known], axis=1).astype(float)
    base = np.nansum(gammaln(counts + layout.totals) - gammaln(layout.totals) - gammaln(counts + 1), axis=1)  # [N]
    base -= (~np.isnan(x)) @ np.log(layout.scale * np.sqrt(2 * np.pi))
    return Statistics(np.nan_to_num(values), known, base)


class Classes(NamedTuple):
    """Latent classes.

    Attributes:
        weights: Shape ``[C]``.
        means: Means of the statistics in each class, ``[C, F]``.
    """

    weights: np.ndarray
    means: np.ndarray

    def log_joint(self, some: Statistics, layout: Layout) -> np.ndarray:
        """Return log p(x, c) of rows, shape ``[N, C]``."""
        num_reals, num_counts = len(layout.reals), len(layout.counts)
        loc, square, rate, share = np.split(self.means, np.cumsum([num_reals, num_reals, num_counts]), axis=1)
        variance, totals = square - loc**2, layout.totals
        slopes = np.concatenate([loc / variance, -0.5 / variance, np.log(rate / (rate + totals)), np.log(share)], axis=1)  # [C, F]
        offsets = np.concatenate([-0.5 * (loc**2 / variance + np.log(variance)), -totals * np.log1p(rate / totals)], axis=1)
        cells = np.concatenate([some.known[:, :num_reals], some.known[:, 2 * num_reals : 2 * num_reals + num_counts]], axis=1)
        return some.values @ slopes.T + cells @ offsets.T + some.base[:, None] + np.log(self.weights)


def prior_means(some: Statistics, layout: Layout) -> np.ndarray:
    """Return the means of the statistics over all rows, ``[F]``; of counts and codes a little off zero, as they are possible."""
    sums, sizes = some.values.sum(0), some.known.sum(0)
    start = 2 * len(layout.reals)
    extra, more = np.zeros(len(sums)), np.zeros(len(sums))
    extra[start:] = _HALF
    more[start:] = np.concatenate([np.ones(len(layout.counts)), *(np.full(size, size * _HALF) for size in layout.sizes)])
    return (sums + extra) / (sizes + more)


def fit_classes(some: Statistics, layout: Layout, num_classes: int, *, smoothing: float, seed: int) -> Classes:
    """Fit classes by expectation maximization, from the nearest of rows that are far from each other.

    Args:
        some: Statistics of the training rows.
        layout: Where they are.
        num_classes: Number of classes C.
        smoothing: Rows like the whole of the data that every class is given.
        seed: Seed of the start.
    """
    whole = prior_means(some, layout)
    filled = np.where(some.known > 0, some.values, whole)
    centers, _ = kmeans_plusplus(filled, num_classes, random_state=seed)
    shares = np.eye(num_classes)[pairwise_distances_argmin(filled, centers)]  # [N, C]
    classes, last = _maximized(shares, some, whole, smoothing), -np.inf
    for _ in range(_MOST_STEPS):
        log_joint = classes.log_joint(some, layout)
        log_px = logsumexp(log_joint, axis=1)
        classes = _maximized(np.exp(log_joint - log_px[:, None]), some, whole, smoothing)
        if log_px.mean() - last < _TOLERANCE:
            break
        last = log_px.mean()
    return classes


def _maximized(shares: np.ndarray, some: Statistics, whole: np.ndarray, smoothing: float) -> Classes:
    means = (shares.T @ some.values + smoothing * whole) / (shares.T @ some.known + smoothing)
    return Classes((shares.sum(0) + 1 / shares.shape[1]) / (len(shares) + 1), means)


def latent_classes(table: TableOfRows, *, num_classes: Sequence[int], smoothing: float) -> ColumnsYardstick:
    """Fit latent classes, and choose their number on the validation rows; counts also have the best of some total counts.

    Raises:
        NotApplicable: If there are no validation rows, too few rows, or columns with a value on which a class might shrink.
    """
    check_spread(table)
    layout = layout_of(table)
    layouts = [layout._replace(totals=layout.totals * factor) for factor in (_FACTORS if layout.counts else (1.0,))]
    found = [_best_classes(table, one, num_classes, smoothing) for one in layouts]
    best = max(range(len(found)), key=lambda place: found[place][1])
    classes = found[best][0]
    return _yardstick(classes, table, layouts[best], f"of {len(classes.weights)} classes")


def _best_classes(table: TableOfRows, layout: Layout, num_classes: Sequence[int], smoothing: float) -> tuple[Classes, float]:
    train, valid = statistics(table.train, layout), statistics(table.valid, layout)

    def fitted(number: int) -> tuple[Classes, float]:
        classes = fit_classes(train, layout, number, smoothing=smoothing, seed=table.seed)
        return classes, float(logsumexp(classes.log_joint(valid, layout), axis=1).mean())

    return best_of(fitted, num_classes, table)


def independent_columns(table: TableOfRows) -> ColumnsYardstick:
    """Fit the columns one by one: normal distributions, negative binomial ones, and shares of codes."""
    layout = layout_of(table)
    alone = Classes(np.ones(1), prior_means(statistics(table.train, layout), layout)[None])
    return _yardstick(alone, table, layout, "")


def total_count(counts: np.ndarray) -> float:
    """Return the total count of the negative binomial distribution with the mean of the counts that makes them most likely."""
    values, numbers = np.unique(counts, return_counts=True)
    mean = (counts.sum() + _HALF) / (len(counts) + 1)

    def loss(log_size: float) -> float:
        size = np.exp(log_size)
        terms = gammaln(values + size) - gammaln(size) - size * np.log1p(mean / size) - values * np.log(size + mean)
        return -float(numbers @ terms)

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_SIZES, method="bounded").x))


def _yardstick(classes: Classes, table: TableOfRows, layout: Layout, size: str) -> ColumnsYardstick:
    num_reals, num_counts = len(layout.reals), len(layout.counts)
    loc, square, rate, share = np.split(classes.means, np.cumsum([num_reals, num_reals, num_counts]), axis=1)
    parts = []
    if num_reals:
        scale = np.sqrt(square - loc**2) * layout.scale
        parts.append(Part("normal", layout.reals, {"loc": loc * layout.scale + layout.loc, "scale": scale}))
    if num_counts:
        totals = np.broadcast_to(layout.totals, rate.shape).copy()
        parts.append(Part("negative_binomial", layout.counts, {"total_count": totals, "logits": np.log(rate / totals)}))
    if layout.codes:
        parts.append(Part("categorical", layout.codes, {"logits": _padded(np.log(share), layout.sizes)}))
    return ColumnsYardstick(classes.weights, parts, ColumnValues(table.kinds, table.sizes), size)


def _padded(logits: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Logits of codes, column after column, ``[C, sum of V]``, as ``[C, D, V]``; values that a column does not have are impossible."""
    padded = np.full((len(logits), len(sizes), max(sizes)), -np.inf)
    for place, part in enumerate(np.split(logits, np.cumsum(sizes)[:-1], axis=1)):
        padded[:, place, : part.shape[1]] = part
    return padded
