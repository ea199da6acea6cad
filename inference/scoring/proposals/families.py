"""The families of normal distributions that are fitted to posteriors: one for each range of dimensions."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from inference.scoring.eager import Scores
from inference.scoring.proposals import fitting
from inference.scoring.proposals.curvature import curvature
from inference.scoring.proposals.fitting import LITTLE_DRIFT, Drawn, Fit, Spread, drawn
from inference.scoring.proposals.judging import judged
from inference.scoring.proposals.normal import DiagonalNormal, FullNormal, LowRankNormal, Normal
from pyro_lvm.pair import Batch

FULL_DIMS = 256  # dimensions up to which covariances are full
_ENTRIES = 2**22  # of the covariances of a block of data
_PAIR_ENTRIES = 2**21  # of the pairs of draws of a block of data
_ROUNDS, _CHECKED = (32, 64, 128), 32  # pairs of draws that show the curvature, and further ones by which a fit is judged
_FEW_LEFT_OUT = 2.0  # change of a precision that a step of Newton's method may leave out


class Family(Protocol):
    """Normal distributions of one kind, and how they are fitted.

    Attributes:
        num_draws: Draws for each datum in one call of the scores, of one shape that may be compiled.
    """

    num_draws: int

    def rows(self, dim: int) -> int:
        """Return the largest number of data of D dimensions that are fitted together."""

    def started(self, moments: DiagonalNormal) -> Normal:
        """Return the distributions with independent coordinates as members of the family."""

    def first_update(self, scores: Scores, batch: Batch, start: Any, generator: torch.Generator) -> Normal:
        """Return distributions after one update."""

    def fit_all(self, scores: Scores, batch: Batch, start: Any, generator: torch.Generator) -> Fit:
        """Fit distributions to all data of a block, which have had their first update."""

    def fit_again(self, scores: Scores, batch: Batch, rows: Tensor, start: Any, generator: torch.Generator, *, needs_all_rows: bool) -> Fit:
        """Fit distributions to some data of a block, from other starts; all of them if the programs run on all data only."""


def family_of(dim: int, prior: DiagonalNormal) -> Family:
    """Return the family that is fitted to posteriors of D dimensions, given the prior's moments ``[1, D]``."""
    return FullFamily() if dim <= FULL_DIMS else LowRankFamily(prior.scale)


class FullFamily:
    """Normal distributions with full covariances, fitted by batch and match."""

    num_draws = fitting.NUM_DRAWS
    first_update = staticmethod(fitting.first_update)
    fit_all = staticmethod(fitting.fit_all)
    fit_again = staticmethod(fitting.fit_again)

    def rows(self, dim: int) -> int:
        return _ENTRIES // dim**2

    def started(self, moments: DiagonalNormal) -> FullNormal:
        return moments.full()


@dataclass(frozen=True)
class LowRankFamily:
    """Normal distributions that are diagonal but for a part of low rank, fitted by rounds of more and more pairs of mirrored draws.

    All pairs so far show the curvature, and the last ones where the mean lies. As long as pairs show more directions than can be told from
    so few, a step of Newton's method would go astray: distributions then stay where they are.

    Args:
        prior: Scales of the prior, ``[1, D]``.
    """

    prior: Tensor
    num_draws = 32

    def rows(self, dim: int) -> int:
        return _PAIR_ENTRIES // (dim * sum(_ROUNDS))

    def started(self, moments: DiagonalNormal) -> LowRankNormal:
        return moments.low_rank(sum(_ROUNDS) // 2)

    def first_update(self, scores: Scores, batch: Batch, start: LowRankNormal, generator: torch.Generator) -> LowRankNormal:
        some = drawn(scores, batch, start, generator, self.num_draws, in_pairs=True)
        return self._updated(start, [some], is_last=False)

    def fit_all(self, scores: Scores, batch: Batch, start: LowRankNormal, generator: torch.Generator) -> Fit:
        return self._fitted(scores, batch, start, generator, self.num_draws)

    def fit_again(
        self, scores: Scores, batch: Batch, rows: Tensor, start: LowRankNormal, generator: torch.Generator, *, needs_all_rows: bool
    ) -> Fit:
        most = 2 * _ROUNDS[0] // self.num_draws  # copies that a round needs
        copies = 1 if needs_all_rows else max(1, min(len(batch[0]) // len(rows), most))
        spread = Spread(scores, batch, rows, copies, self.num_draws)
        return self._fitted(spread, batch, start, generator, spread.num_draws)

    def _fitted(self, scores: Scores, batch: Batch, normal: LowRankNormal, generator: torch.Generator, num_draws: int) -> Fit:
        seen = []
        for count in _ROUNDS:
            seen.append(_pairs(scores, batch, normal, generator, count, num_draws))
            normal = self._updated(normal, seen, is_last=len(seen) == len(_ROUNDS))
        last = _pairs(scores, batch, normal, generator, _CHECKED, num_draws)
        return Fit(_moved(normal, last), judged(last.log_weights), _drift(last) < LITTLE_DRIFT)

    def _updated(self, normal: LowRankNormal, seen: list[Drawn], *, is_last: bool) -> LowRankNormal:
        """Return distributions with the curvature that all pairs show, and the mean to which the last ones point."""
        steps, slopes = (torch.cat(values).permute(1, 2, 0) for values in zip(*(_odd(some) for some in seen), strict=True))  # [R, D, P]
        room = normal.directions.shape[2]
        rank = min(room, steps.shape[2] // 2)
        found = curvature(steps, slopes, [self.prior.expand_as(normal.scale), normal.scale], rank)
        directions, variances = pad(found.directions, (0, room - rank)), pad(1 / found.precisions, (0, room - rank), value=1.0)
        new = _moved(LowRankNormal(normal.loc, found.scale, directions, variances), seen[-1])
        is_usable = torch.stack([value.isfinite().flatten(1).all(1) for value in (new.loc, new.log_scale[:, None])]).all(0)
        rows = (is_usable & (is_last | (found.left_out <= _FEW_LEFT_OUT))).nonzero()[:, 0]
        return normal.replaced(rows, new.rows(rows))


def _pairs(scores: Scores, batch: Batch, normal: LowRankNormal, generator: torch.Generator, count: int, num_draws: int) -> Drawn:
    """Draw a number of pairs, and more if calls of the scores have more; all first ones come before all second ones."""
    parts = [drawn(scores, batch, normal, generator, num_draws, in_pairs=True) for _ in range(-(-2 * count // num_draws))]
    halves = [[value.chunk(2) for value in part] for part in parts]
    return Drawn(*(torch.cat([half[k] for k in (0, 1) for half in column]) for column in zip(*halves, strict=True)))


def _odd(some: Drawn) -> tuple[Tensor, Tensor]:
    """Return half the differences of pairs of draws, and of their scores with the sign changed; zero where a score is not finite."""
    step, slope = (sign * (first - second) / 2 for sign, (first, second) in ((1, some.draws.chunk(2)), (-1, some.scores.chunk(2))))
    is_known = slope.isfinite().all(2, keepdim=True)
    return torch.where(is_known, step, 0.0), torch.where(is_known, slope, 0.0)


def _moved(normal: LowRankNormal, some: Drawn) -> LowRankNormal:
    """Move means by a step of Newton's method, to where the mean of scores that are finite would be zero."""
    is_known = some.scores.isfinite().all(2, keepdim=True)
    mean = torch.where(is_known, some.scores, 0.0).sum(0) / is_known.sum(0).clamp_min(1)
    return normal.around(normal.loc + normal.colored(normal.uncolored(mean[None]))[0])


def _drift(some: Drawn) -> Tensor:
    """Return the squared mean difference of scores less what its error explains, in units of standard deviations, ``[R]``."""
    first, second = some.difference.chunk(2)
    even = (first + second) / 2  # [P, R, D]
    count, mean = (~even.isnan()).sum(0), even.nanmean(0)
    error = (even - mean).square().nansum(0) / (count * (count - 1))  # squared, of the mean
    return (mean.square() - error).sum(1)
