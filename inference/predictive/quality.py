"""Sample quality, a complement to likelihood: precision, recall, density, coverage and the Fréchet distance in a stated feature space."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from inference.formatting import format_with_error
from inference.markup import Lines
from inference.predictive.draws import in_blocks, of_data, reconstruct, sample_prior
from inference.predictive.features import Features
from pyro_lvm.checks import check_counts, check_seeds
from pyro_lvm.reading import read_batch

METRICS = ("precision", "recall", "density", "coverage", "frechet")
NUM_HALVINGS = 10
MIN_ROWS = 20
_BLOCK_ELEMENTS = 2**22


@dataclass(frozen=True, eq=False, repr=False)
class SampleQuality(Lines):
    r"""How well samples resemble data and cover them, each figure with its standard error.

    Errors come from R random halvings of samples and data: the difference of two halves has twice the error of the whole,

    .. math:: \mathrm{se}^2 = \frac1R \sum_r \tfrac14 (\theta_{r1} - \theta_{r2})^2

    Attributes:
        values: precision, recall, density, coverage and the Fréchet distance, shape ``[5]``.
        halves: The same figures for the halves, shape ``[R, 2, 5]``.
        num_samples: Number of samples.
        num_real: Number of data.
        neighbours: Number of nearest neighbours inside a ball.
        features: What the features are.
        seed: Seed of the halvings.
    """

    values: Tensor
    halves: Tensor
    num_samples: int
    num_real: int
    neighbours: int
    features: str
    seed: int

    precision = property(lambda self: float(self.values[0]), doc="Share of the samples in a ball of data.")
    recall = property(lambda self: float(self.values[1]), doc="Share of the data in a ball of samples.")
    density = property(lambda self: float(self.values[2]), doc="Mean number of balls of data that a sample lies in, over its expectation.")
    coverage = property(lambda self: float(self.values[3]), doc="Share of the balls of data that contain a sample.")
    frechet = property(lambda self: float(self.values[4]), doc="Squared Fréchet distance between normal fits.")

    @property
    def standard_errors(self) -> dict[str, float]:
        """Standard errors by the names of the figures."""
        return dict(zip(METRICS, _errors(self.halves), strict=True))

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield from ((str(name), text) for name, text in format_quality(quality_table({"": self})).iloc[0].items())
        yield "", f"{self.num_samples} samples, {self.num_real} data, {self.neighbours} neighbours"
        yield "", f"features: {self.features}"


def sample_quality(samples: Tensor, real: Tensor, features: Features, *, neighbours: int = 5, seed: int = 0) -> SampleQuality:
    r"""Compare M samples with N data, as points y and x in a feature space.

    With the distances :math:`r_k(x)` from x to the k-th nearest of the other data and :math:`r_k(y)` from y to the k-th nearest of the
    other samples,

    .. math::
        \mathrm{precision} &= \frac1M \sum_j \max_i 1[|y_j - x_i| \le r_k(x_i)], \quad
        \mathrm{recall} = \frac1N \sum_i \max_j 1[|x_i - y_j| \le r_k(y_j)], \\
        \mathrm{density} &= \frac1{kM} \sum_j \sum_i 1[|y_j - x_i| \le r_k(x_i)], \quad
        \mathrm{coverage} = \frac1N \sum_i \max_j 1[|y_j - x_i| \le r_k(x_i)], \\
        \mathrm{frechet} &= |m_x - m_y|^2 + \operatorname{tr}(S_x + S_y - 2 (S_x S_y)^{1/2})

    with means m and covariances S. If samples and data have the same distribution, without ties, density has expectation 1, and
    coverage has one minus the product of :math:`(N - l) / (N + M - l)` over l = 1 to k, which is near :math:`1 - 2^{-k}` for M = N;
    the Fréchet distance is above 0 and falls with more data, so compare it only at equal M and N.
    Memory does not grow with M times N.

    Args:
        samples: Samples ``[M, *X]``.
        real: Data ``[N, *X]``; to judge a model, data to which neither the model nor the features were fitted.
        features: The feature space.
        neighbours: Number of nearest neighbours inside a ball, k.
        seed: Seed of the halvings.

    Returns:
        The figures and their errors.

    Raises:
        ValueError: If samples and data differ in shape, values are not finite, or there are too few rows for the neighbours.

    References:
        Kynkäänniemi, Karras, Laine, Lehtinen, Aila (2019), Improved precision and recall metric for assessing generative
        models. https://arxiv.org/abs/1904.06991

        Naeem, Oh, Uh, Choi, Yoo (2020), Reliable fidelity and diversity metrics for generative models.
        https://arxiv.org/abs/2002.09797

        Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter (2017), GANs trained by a two time-scale update rule converge to a
        local Nash equilibrium. https://arxiv.org/abs/1706.08500
    """
    _check(samples, real, neighbours)
    y, x = features(samples), features(real)
    check_seeds(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    halves = [_halves(y, x, generator, neighbours) for _ in range(NUM_HALVINGS)]
    whole = _figures(y, x, neighbours)
    return SampleQuality(whole, torch.stack(halves), len(y), len(x), neighbours, features.description, seed)


def frechet_distance(first: Tensor, second: Tensor) -> Tensor:
    r"""Squared Fréchet distance between two normal distributions with the means and covariances of two sets of points.

    .. math:: |m_1 - m_2|^2 + \operatorname{tr}(S_1 + S_2 - 2 (S_1 S_2)^{1/2})

    Args:
        first: Points ``[M, F]``, M > 1.
        second: Points ``[N, F]``, N > 1.

    Returns:
        A scalar, in squared units of the points.
    """
    (m1, s1), (m2, s2) = _moments(first), _moments(second)
    # The trace of (S1 S2)^(1/2) is the sum of the singular values of S1^(1/2) S2^(1/2).
    shared = torch.linalg.svdvals(_square_root(s1) @ _square_root(s2)).sum()
    return (m1 - m2).square().sum() + (s1.trace() + s2.trace() - 2 * shared).clamp_min(0)


def pair_samples(pair: object, *data: Any, seed: int = 0, means: bool = False) -> dict[str, Tensor]:
    """Draw one reconstruction and one prior sample for each datum.

    Both are draws from p(x|z), one at a code of the datum and the other at a draw from the prior. The difference in their quality
    shows what is lost because prior draws are not distributed like codes.

    Args:
        pair: Any pair.
        data: Observations ``[N, *X]``, then any other arguments of the pair; or data in any other form that
            :func:`~inference.scoring.importance.evaluate` takes. Compare the results with data other than these, or
            reconstructions are compared with their own originals.
        seed: Seed of the draws.
        means: Whether to return means of p(x|z) instead of draws; the data with which they are compared are draws.

    Returns:
        ``"reconstructions"`` and ``"prior samples"``, each ``[N, *X]``.

    Raises:
        TypeError: If the pair observes several sites, and its first argument at none of them.
    """
    batch = read_batch(pair, data)
    return {
        "reconstructions": of_data(pair, in_blocks(lambda *rows: reconstruct(pair, *rows, draws=not means), *batch, seed=seed)),
        "prior samples": of_data(pair, in_blocks(lambda *rows: sample_prior(pair, *rows, means=means), *batch, seed=seed)),
    }


def quality_table(qualities: Mapping[str, SampleQuality]) -> pd.DataFrame:
    """Tabulate figures and their standard errors, one row for each set of samples.

    Args:
        qualities: Figures by the names of the samples, all compared with the same data.

    Raises:
        ValueError: If they differ in the number of samples or data, in neighbours, in features or in seed.
    """
    _check_alike(qualities)
    rows = {name: _row(quality.values, quality.halves) for name, quality in qualities.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def quality_differences(qualities: Mapping[str, tuple[SampleQuality, SampleQuality]]) -> pd.DataFrame:
    """Tabulate differences, first minus second, with their standard errors; the part of the errors due to the shared data cancels.

    Args:
        qualities: Pairs of figures by name, each pair compared with the same data.

    Raises:
        ValueError: If two differ in the number of samples or data, in neighbours, in features or in seed.
    """
    for first, second in qualities.values():
        _check_alike({"first": first, "second": second})
    rows = {name: _row(a.values - b.values, a.halves - b.halves) for name, (a, b) in qualities.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def format_quality(table: pd.DataFrame) -> pd.DataFrame:
    """Format a :func:`quality_table` as strings without digits beyond the standard error."""
    texts = {m: map(format_with_error, table[m], table[f"{m}_se"]) for m in METRICS}
    return pd.DataFrame(texts, index=table.index)


def _row(values: Tensor, halves: Tensor) -> dict[str, float]:
    errors = {f"{metric}_se": error for metric, error in zip(METRICS, _errors(halves), strict=True)}
    return dict(zip(METRICS, values.tolist(), strict=True)) | errors


def _errors(halves: Tensor) -> list[float]:
    return ((halves[:, 0] - halves[:, 1]).square().mean(0) / 4).sqrt().tolist()


def _halves(y: Tensor, x: Tensor, generator: torch.Generator, neighbours: int) -> Tensor:
    """Figures ``[2, 5]`` of two random halves; sets of equal size, such as pairs, are split at the same rows."""
    state = generator.get_state()
    x_rows = torch.randperm(len(x), generator=generator).chunk(2)
    y_rows = torch.randperm(len(y), generator=generator.set_state(state)).chunk(2)
    return torch.stack([_figures(y[i], x[j], neighbours) for i, j in zip(y_rows, x_rows, strict=True)])


def _figures(y: Tensor, x: Tensor, neighbours: int) -> Tensor:
    """The five figures, ``[5]``, of samples ``[M, F]`` and data ``[N, F]``."""
    y_radii, x_radii = _radii(y, neighbours), _radii(x, neighbours)
    balls = torch.zeros(len(y), dtype=torch.float64)  # how many balls of data each sample lies in
    is_recalled, is_covered = torch.zeros(2, len(x), dtype=torch.bool)
    for rows in _blocks(len(y), len(x)):
        distances = _squared_distances(y[rows], x)  # [b, N]
        is_inside = distances <= x_radii
        balls[rows] = is_inside.sum(1, dtype=torch.float64)
        is_covered |= is_inside.any(0)
        is_recalled |= (distances <= y_radii[rows, None]).any(0)
    shares = [(balls > 0).double().mean(), is_recalled.double().mean(), balls.mean() / neighbours, is_covered.double().mean()]
    return torch.stack([*shares, frechet_distance(y, x)])


def _radii(points: Tensor, neighbours: int) -> Tensor:
    """Squared distance from each point to the k-th nearest of the others, ``[N]``."""
    # Filled in place: small results kept between large blocks would fragment the memory that the next block needs.
    radii = torch.empty(len(points), dtype=torch.float64)
    for rows in _blocks(len(points), len(points)):
        radii[rows] = _squared_distances(points[rows], points).topk(neighbours + 1, largest=False).values[:, -1]
    # A distance equal to the radius counts as inside, however the two are rounded.
    return radii + 1e-12 * points.square().sum(1).max()


def _blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // num_columns)
    return (slice(start, start + step) for start in range(0, num_rows, step))


def _squared_distances(first: Tensor, second: Tensor) -> Tensor:
    products = first @ second.T  # [M, N]
    return products.mul_(-2).add_(first.square().sum(1)[:, None]).add_(second.square().sum(1)).clamp_min_(0)


def _moments(points: Tensor) -> tuple[Tensor, Tensor]:
    return points.mean(0), torch.atleast_2d(torch.cov(points.T))


def _square_root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt() @ vectors.T


def _check(samples: Tensor, real: Tensor, neighbours: int) -> None:
    check_counts(neighbours=neighbours)
    if samples.shape[1:] != real.shape[1:]:
        got = f"{tuple(samples.shape[1:])} and {tuple(real.shape[1:])}"
        raise ValueError(f"samples and real must agree on the shape of a datum; got {got}. Reshape one of them.")
    for name, x in (("samples", samples), ("real", real)):
        if not bool(x.isfinite().all()):
            raise ValueError(f"{name} must be finite; got NaN or infinite values. Drop or correct those rows.")
        fewest = max(MIN_ROWS, 2 * (neighbours + 1))
        if len(x) < fewest:
            raise ValueError(f"{name} must hold at least {fewest} rows for {neighbours} neighbours; got {len(x)}. Pass more.")


def _check_alike(qualities: Mapping[str, SampleQuality]) -> None:
    for field in ("num_samples", "num_real", "neighbours", "features", "seed"):
        found = {name: getattr(quality, field) for name, quality in qualities.items()}
        if len(set(found.values())) > 1:
            raise ValueError(f"{field} must be the same everywhere, as the figures depend on it; got {found}. Use one {field} for all.")
