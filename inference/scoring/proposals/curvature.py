r"""Precisions of normal distributions from pairs of draws: a diagonal, and a part of low rank.

A posterior's precision is that of its prior, often diagonal, plus the curvature of the likelihood, whose rank is at most the number of
observed values; its covariance has a low rank beside its diagonal where latents depend on others that are few. Both are

.. math:: P = A^{-1/2} (I + V (\Lambda - I) V^T) A^{-1/2}

with a diagonal A, orthonormal directions V, and precisions :math:`\Lambda` along them, larger or smaller than 1.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from inference.scoring.proposals.matching import eigen

_SLACK = 1.05  # by which a singular value must exceed those of noise
_SHARE = 0.3  # of the root mean square of scores that a precision has at least
_TRIED, _STEPS, _LITTLE_CHANGE = 1, 8, 1e-3  # alternations from each start, and most from the best one; relative changes that end them
_QUANTILE = 0.75  # place, among descending singular values, of one that is noise
_LEAST_CHANGE, _ROUNDED = 1e-3, 1e-6  # changes of precisions that matter; relative size of singular values that rounding spoils
_TINY = 1e-12  # relative size of directions that draws do not show


class Curvature(NamedTuple):
    """Precisions of R data.

    Attributes:
        scale: Roots of A, shape ``[R, D]``.
        directions: V, ``[R, D, r]``.
        precisions: Diagonals of :math:`\\Lambda`, ``[R, r]``; one along directions that do not count.
        divergence: Mean squared difference of scores, in units of the standard deviations, ``[R]``.
        left_out: Largest change of a precision, relative to the diagonal, in directions for which there is no room, ``[R]``.
    """

    scale: Tensor
    directions: Tensor
    precisions: Tensor
    divergence: Tensor
    left_out: Tensor


def curvature(steps: Tensor, slopes: Tensor, starts: list[Tensor], rank: int) -> Curvature:
    r"""Find precisions with which deviations of draws explain differences of scores.

    A pair of draws :math:`z \pm e`, whose scores differ by :math:`-2y`, shows y = P e, free of terms of even order. The diagonal and the
    part of low rank are found in turn, by least squares. In units of the diagonal, directions are the left singular vectors of
    :math:`y - e` whose singular values exceed those of noise. Least squares agree with the optimum of KL(q || p), whose
    precision is the mean curvature of -log p, and do not take scatter for curvature, as mean squares of scores do.

    Args:
        steps: e, float64, shape ``[R, D, P]``.
        slopes: y, ``[R, D, P]``; pairs without scores have zeros in both.
        starts: Scales to start at, each ``[R, D]``; another start matches the mean squares of each coordinate. The best one is taken.
        rank: Largest number of directions, at most P.

    Returns:
        The precisions, all positive.
    """
    squares = (steps.square().sum(2) / slopes.square().sum(2)).pow(0.25)
    tried = [_alternated(steps, slopes, scale, rank, _TRIED) for scale in (*starts, squares)]
    best = torch.stack([each.divergence.nan_to_num(torch.inf) for each in tried]).argmin(0)
    scale = torch.stack([each.scale for each in tried]).take_along_dim(best[None, :, None], 0)[0]
    found = _alternated(steps, slopes, scale, rank, _STEPS)
    return found._replace(directions=torch.linalg.qr(found.directions.nan_to_num())[0])  # exact, as densities depend on it


def _alternated(steps: Tensor, slopes: Tensor, scale: Tensor, rank: int, count: int) -> Curvature:
    for _ in range(count):
        step, slope, directions, along, precisions, _ = _along(steps, slopes, scale, rank)
        rest = slope - directions @ ((precisions - 1)[..., None] * along)
        change = _precision(step, rest)
        scale = scale * change.rsqrt()
        if (change.log().abs() < _LITTLE_CHANGE).all():
            break
    step, slope, directions, along, precisions, left_out = _along(steps, slopes, scale, rank)
    root = precisions.sqrt()
    white_slope = slope + directions @ ((1 / root - 1)[..., None] * (directions.mT @ slope))
    white_step = step + directions @ ((root - 1)[..., None] * along)
    return Curvature(scale, directions, precisions, (white_slope - white_step).square().sum((1, 2)) / steps.shape[2], left_out)


def _along(steps: Tensor, slopes: Tensor, scale: Tensor, rank: int) -> tuple[Tensor, ...]:
    """Return steps and slopes in units of scales, directions, the steps along them ``[R, r, P]``, and precisions along them."""
    step, slope = steps / scale[..., None], slopes * scale[..., None]
    base, left_out = _shown(slope - step, rank)
    along, change = base.mT @ step, base.mT @ (slope - step)
    matrix, is_shown = _symmetric(along, change), base.square().sum(1) > 0  # [R, r]
    apart = 1 + 2 * matrix.square().sum((1, 2)).sqrt()[:, None]  # so that directions that are zero come last
    _, turn = eigen(matrix + torch.diag_embed(apart.where(~is_shown, 0.0)))
    along, change = turn.mT @ along, turn.mT @ change
    return step, slope, base @ turn, along, _precision(along, along + change).where(is_shown, 1.0), left_out


def _shown(change: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the left singular vectors ``[R, D, r]`` of changes ``[R, D, P]`` whose singular values exceed those of noise; others are zero.

    Singular values of D x P independent numbers lie between the difference and the sum of the roots of D and P.
    """
    dim, count = change.shape[1:]
    values, vectors = eigen(change.mT @ change)
    values, vectors = values.flip(1).clamp_min(0).sqrt(), vectors.flip(2)  # descending
    low, high = abs(math.sqrt(dim) - 0.6 * math.sqrt(count)), math.sqrt(dim) + math.sqrt(count)  # 0.6 at that quantile
    edge = _SLACK * high / low * values[:, int(_QUANTILE * count), None]
    left_out = values[:, rank] / math.sqrt(count)
    values, vectors = values[:, :rank], vectors[:, :, :rank]
    is_shown = values > torch.maximum(edge.clamp_min(_LEAST_CHANGE * math.sqrt(count)), _ROUNDED * values[:, :1])
    return (change @ vectors) * (1 / values).where(is_shown, 0.0)[:, None], left_out


def _symmetric(along: Tensor, change: Tensor) -> Tensor:
    """Return the symmetric matrices C ``[R, r, r]`` with the least squares of C ``along`` - ``change``, each ``[R, r, P]``."""
    values, vectors = eigen(along @ along.mT)
    sides = vectors.mT @ (change @ along.mT + along @ change.mT) @ vectors
    sums = values[:, :, None] + values[:, None]
    matrix = (sides / sums).where(sums > _TINY * values[:, -1:, None], 0.0)
    return vectors @ matrix @ vectors.mT


def _precision(steps: Tensor, slopes: Tensor) -> Tensor:
    """Return positive factors ``[R, D]`` with which steps ``[R, D, P]`` explain slopes."""
    squares = steps.square().sum(2)
    return torch.maximum((steps * slopes).sum(2) / squares, _SHARE * (slopes.square().sum(2) / squares).sqrt())
