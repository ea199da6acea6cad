"""Fit a normal distribution to the posterior of each datum by batch and match, from few gradients."""

from typing import NamedTuple

import torch
from torch import Tensor

from inference.numerics import row_slices
from inference.scoring.eager import Scores
from inference.scoring.proposals.judging import Pilot, judged
from inference.scoring.proposals.matching import matched, matched_pairs, matched_together
from inference.scoring.proposals.normal import FullNormal, Normal, log_density_of, standard_normal
from pyro_lvm.pair import Batch

NUM_DRAWS = 8  # for each update of batch and match
_RATE = 16.0  # of the first update, in units of its draws
_SEARCHES, _SETTLES = 10, 24  # updates until a fit is near, and further sets of draws, in 40 dimensions or fewer
_MANY_DIMS = 40
_MORE_SEARCHES, _MORE_SETTLES, _MORE_DRAWS = 3, 8, 16  # the same of another fit, and its draws besides D
LITTLE_DRIFT = 1.0  # squared mean difference of scores, in units of standard deviations, below which a fit has converged


class Drawn(NamedTuple):
    r"""What draws from normal distributions N(m, S) show.

    Attributes:
        draws: The draws, shape ``[B, R, D]``.
        scores: Gradients of log p there, ``[B, R, D]``.
        log_weights: Their log weights, ``[B, R]``.
        difference: Differences of scores in units of the standard deviations, :math:`L^T (\nabla \log p - \nabla \log q)` with
            :math:`S = L L^T`, ``[B, R, D]``.
    """

    draws: Tensor
    scores: Tensor
    log_weights: Tensor
    difference: Tensor


class Fit(NamedTuple):
    """Normal distributions fitted to R data.

    Attributes:
        normal: The distributions.
        pilot: What draws say of them, but for their last update.
        has_converged: Whether the mean difference of scores is small, ``[R]``.
    """

    normal: Normal
    pilot: Pilot
    has_converged: Tensor


def first_update(scores: Scores, batch: Batch, start: FullNormal, generator: torch.Generator) -> FullNormal:
    """Return distributions after one update."""
    some = drawn(scores, batch, start, generator, NUM_DRAWS)
    return matched(start, some.draws, some.scores, _RATE * NUM_DRAWS)


def fit_all(scores: Scores, batch: Batch, start: FullNormal, generator: torch.Generator) -> Fit:
    """Fit distributions to all data of a block, which have had their first update.

    The rates of updates are at first large, for starts that are far off, and later small, to average over draws.
    """
    times = max(1.0, start.loc.shape[1] / _MANY_DIMS)
    rates = [_RATE * NUM_DRAWS / (step + 2) ** 2 for step in range(round(times * _SEARCHES))]
    near = _searched(scores, batch, start, generator, rates, NUM_DRAWS)
    return _settled(scores, batch, near, generator, round(times * _SETTLES), NUM_DRAWS)


def fit_again(scores: Scores, batch: Batch, rows: Tensor, start: FullNormal, generator: torch.Generator, *, needs_all_rows: bool) -> Fit:
    """Fit distributions to some data of a block with more draws than dimensions, which find any normal posterior in a few updates.

    Args:
        scores: Log density and gradients.
        batch: All data of the block.
        rows: Which of them.
        start: The distributions at the start, of these.
        generator: Random numbers.
        needs_all_rows: Whether the programs run only on all data at once; then ``rows`` must be all.
    """
    dim, size, fits = start.loc.shape[1], len(batch[0]), []
    least = dim + dim % 2 + _MORE_DRAWS  # even, for pairs
    room = len(rows) if needs_all_rows else max(1, size * NUM_DRAWS // least)  # of a block
    for some in row_slices(len(rows), room):
        few = rows[some]
        copies = 1 if needs_all_rows else max(size // len(few), -(-least // NUM_DRAWS))
        spread = Spread(scores, batch, few, copies, least if needs_all_rows else NUM_DRAWS)
        rates = [spread.num_draws * dim / (step + 1) for step in range(_MORE_SEARCHES)]
        near = _searched(spread, batch, start.rows(some), generator, rates, spread.num_draws)
        fits.append(_settled(spread, batch, near, generator, _MORE_SETTLES, spread.num_draws))
    return _joined(fits)


class Spread:
    """Log density and gradients at many draws of few data, computed as at fewer draws of a whole block, which may be compiled.

    Args:
        scores: Log density and gradients.
        batch: All data of the block.
        rows: Those data.
        copies: How many times each of them stands in the block.
        num_draws: Draws for each copy.
    """

    def __init__(self, scores: Scores, batch: Batch, rows: Tensor, copies: int, num_draws: int) -> None:
        self.scores, self.shape, self.num_draws = scores, (num_draws, copies * len(rows)), num_draws * copies
        self.places = torch.arange(max(len(batch[0]), self.shape[1]), device=rows.device) % self.shape[1]  # the first fill it up
        index = rows.repeat(copies)[self.places]
        self.batch = tuple(x[index.to(x.device)] for x in batch)

    def __call__(self, batch: Batch, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Return log densities ``[B, R]`` and gradients ``[B, R, D]`` of those data."""
        few = vector.reshape(*self.shape, vector.shape[2])[:, self.places]
        log_p, gradient = (values[:, : self.shape[1]] for values in self.scores(self.batch, few))
        return log_p.reshape(vector.shape[:2]), gradient.reshape(vector.shape)


def _joined(fits: list[Fit]) -> Fit:
    """Join fits of several groups of data."""
    normals, pilots, converged = zip(*fits, strict=True)
    normal = FullNormal(*(torch.cat(parts) for parts in zip(*(normal.columns() for normal in normals), strict=True)))
    pilot = Pilot(*(torch.cat(parts) for parts in zip(*pilots, strict=True)))
    return Fit(normal, pilot, torch.cat(converged))


def drawn(scores: Scores, batch: Batch, normal: Normal, generator: torch.Generator, num_draws: int, *, in_pairs: bool = False) -> Drawn:
    """Draw from normal distributions; in pairs, the second half of the draws mirrors the first."""
    noise = standard_normal((num_draws // 2 if in_pairs else num_draws, *normal.loc.shape), normal.loc, generator)
    if in_pairs:
        noise = torch.cat([noise, -noise])
    draws = normal.loc + normal.colored(noise)
    log_p, gradient = scores(batch, draws)
    gradient = gradient.double()
    gradient = gradient.where(gradient.isfinite().all(2, keepdim=True), torch.nan)
    return Drawn(draws, gradient, log_p.double() - log_density_of(normal, noise), normal.uncolored(gradient) + noise)


def _searched(
    scores: Scores, batch: Batch, normal: FullNormal, generator: torch.Generator, rates: list[float], num_draws: int
) -> FullNormal:
    """Update distributions with a few draws at each rate, and then with all of the later draws together."""
    seen = []
    for rate in rates:
        seen.append(drawn(scores, batch, normal, generator, num_draws))
        normal = matched(normal, seen[-1].draws, seen[-1].scores, rate)
    later = seen[len(rates) // 4 :]
    return matched_together(normal, *(values.flatten(0, 1) for values in _columns(later)))


def _settled(scores: Scores, batch: Batch, near: FullNormal, generator: torch.Generator, count: int, num_draws: int) -> Fit:
    """Update distributions twice, each time with many pairs of draws, the second time with all of them."""
    first = [drawn(scores, batch, near, generator, num_draws, in_pairs=True) for _ in range(count // 2)]
    nearer = matched_pairs(near, *_columns(first))
    second = [drawn(scores, batch, nearer, generator, num_draws, in_pairs=True) for _ in range(count - count // 2)]
    drift = torch.cat([some.difference for some in second]).nanmean(0).square().sum(1)  # [R]
    pilot = judged(torch.cat([some.log_weights for some in second]))
    return Fit(matched_pairs(nearer, *_columns(first + second)), pilot, drift < LITTLE_DRIFT)


def _columns(seen: list[Drawn]) -> tuple[Tensor, Tensor]:
    """Return A sets of draws and their scores, each ``[A, B, R, D]``."""
    return torch.stack([some.draws for some in seen]), torch.stack([some.scores for some in seen])
