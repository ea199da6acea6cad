"""Schedules and step sizes of annealed chains, found by chains of their own and then fixed."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from inference.scoring.annealed.hamiltonian import NUM_LEAPFROGS, moved
from inference.scoring.annealed.path import Path

_NUM_CHAINS, _NUM_PLACES = 16, 20  # of the pilot: chains for each datum, and places on the path
_ACCEPTANCE = 0.8  # mean probability of acceptance that step sizes aim at
_FIRST_SIZE, _RATE = 0.5, 2.0  # step size, in units of the scales, and rate of its adaptation, which falls by a root of the steps
_LONGEST = 0.5 * math.pi / NUM_LEAPFROGS  # a quarter of the period of a normal distribution of these scales
_LEAST_LENGTH = 1e-3  # of a piece of the path on which weights are equal


class Course(NamedTuple):
    """What chains follow, for each of R data.

    Attributes:
        betas: Places on the path, from 0 to 1, shape ``[T + 1, R]``.
        size: Step sizes of leapfrogs, in units of the scales, ``[R]``.
    """

    betas: Tensor
    size: Tensor


class PilotRun(NamedTuple):
    """What a pilot run of P chains finds for each of R data.

    Attributes:
        course: Schedule and step sizes.
        log_weights: Log weights of the chains, ``[P, R]``.
        shares_of_weight: Share of the weights of those chains that started at each of the C components, ``[C, R]``.
    """

    course: Course
    log_weights: Tensor
    shares_of_weight: Tensor


def piloted(path: Path, num_steps: int, generator: torch.Generator) -> PilotRun:
    """Find a schedule of T steps with equal conditional effective sample sizes, and step sizes, by a pilot run.

    Weights of chains that adapt to themselves are biased. So chains that count must draw their own noise and leave the course as it is.

    Args:
        path: The path.
        num_steps: T.
        generator: Source of the pilot's noise.

    References:
        Zhou, Johansen, Aston (2016), Towards automatic model comparison: an adaptive sequential Monte Carlo approach.
        https://arxiv.org/abs/1303.3123

        Syed, Bouchard-Côté, Chern, Doucet (2024), Optimised annealed sequential Monte Carlo samplers. https://arxiv.org/abs/2408.12057
    """
    grid = torch.linspace(0, 1, _NUM_PLACES + 1, dtype=torch.float64, device=path.scales.loc.device).square()
    point, chosen = path.start(_NUM_CHAINS, generator)
    log_weights, log_size = torch.zeros_like(point.log_q), torch.full_like(point.log_q[0], math.log(_FIRST_SIZE))
    losses, sizes = [], []
    for number, (before, beta) in enumerate(zip(grid[:-1], grid[1:], strict=True), start=1):
        increments = (beta - before) * point.energy
        losses.append(-log_conditional_ess(log_weights, increments))
        log_weights = log_weights + increments
        point, acceptance = moved(path, point, beta.expand_as(log_size), log_size.exp(), generator)
        log_size = log_size + _RATE / math.sqrt(number) * (acceptance.mean(0) - _ACCEPTANCE)
        log_size = log_size.clamp_max(math.log(_LONGEST))
        sizes.append(log_size)
    lengths = torch.stack(losses).nan_to_num(math.log(_NUM_CHAINS)).clamp_min(0).sqrt()
    course = Course(equidistant(grid, lengths, num_steps), torch.stack(sizes[len(sizes) // 2 :]).mean(0).exp())
    shares = log_weights.softmax(0).nan_to_num(0.0)
    return PilotRun(course, log_weights, torch.stack([(shares * (chosen == c)).sum(0) for c in range(len(path.proposal.components))]))


def log_conditional_ess(log_weights: Tensor, increments: Tensor) -> Tensor:
    r"""Return the logarithm of the share of weighted draws that is left after an increment of their log weights, ``[R]``.

    .. math:: \log \frac{(\sum_k W_k v_k)^2}{\sum_k W_k v_k^2}, \quad \sum_k W_k = 1

    Args:
        log_weights: :math:`\log W_k` up to a constant, shape ``[K, R]``.
        increments: :math:`\log v_k`, ``[K, R]``.
    """
    shares = log_weights.log_softmax(0)
    return 2 * (shares + increments).logsumexp(0) - (shares + 2 * increments).logsumexp(0)


def equidistant(grid: Tensor, lengths: Tensor, num_steps: int) -> Tensor:
    """Return ``num_steps + 1`` places, from the first to the last of a grid, that divide it into pieces of equal length.

    Args:
        grid: Ascending places, shape ``[G + 1]``.
        lengths: Lengths between them, not negative, ``[G, R]``. A loss of conditional sample size grows with the square of the distance, so
            that its root is a length.
        num_steps: T.

    Returns:
        Places, ``[T + 1, R]``.
    """
    ends = (lengths + _LEAST_LENGTH).cumsum(0).T  # [R, G]
    ends = torch.cat([torch.zeros_like(ends[:, :1]), ends / ends[:, -1:]], dim=1)  # [R, G + 1]
    wanted = torch.linspace(0, 1, num_steps + 1, dtype=grid.dtype, device=grid.device).expand(len(ends), -1).contiguous()
    right = torch.searchsorted(ends, wanted).clamp(1, len(grid) - 1)  # [R, T + 1]
    left_end, right_end = ends.gather(1, right - 1), ends.gather(1, right)
    share = (wanted - left_end) / (right_end - left_end)
    return torch.lerp(grid[right - 1], grid[right], share).T.contiguous()
