"""Transitions of chains: Hamiltonian dynamics in the scales of a normal distribution, with Metropolis correction."""

from typing import NamedTuple

import torch
from torch import Tensor

from inference.scoring.annealed.path import Path, Point

NUM_LEAPFROGS = 3  # of a trajectory; with 1 to 5, one number of gradients gives weights that vary much alike
_JITTER = 0.2  # of step sizes, relative, so that no trajectory closes on itself


class Moved(NamedTuple):
    """Chains after a transition.

    Attributes:
        point: The new states.
        acceptance: Probability with which each proposed state was accepted, ``[K, R]``.
    """

    point: Point
    acceptance: Tensor


def moved(path: Path, point: Point, beta: Tensor, size: Tensor, generator: torch.Generator) -> Moved:
    r"""Move chains by a transition that is reversible with respect to :math:`\pi_\beta`, and so leaves it invariant.

    With S the covariance of the path's scales, momenta are drawn from :math:`N(0, S^{-1})`. Leapfrog steps follow the dynamics of

    .. math:: H(v, r) = -\log \pi_\beta(v) + \tfrac{1}{2} r^T S r

    and their end is accepted with probability :math:`\min(1, e^{-\Delta H})`, and never where the change of H is not a number.

    Args:
        path: The path.
        point: The states of K chains for each of R data.
        beta: Places on the path, shape ``[R]``.
        size: Step sizes, ``[R]``.
        generator: Source of momenta, of the jitter of step sizes, and of decisions.

    References:
        Neal (2011), MCMC using Hamiltonian dynamics. https://arxiv.org/abs/1206.1901
    """
    momentum = torch.empty_like(point.vector).normal_(generator=generator)  # in units of the scales, [K, R, D]
    jitter, decision = point.log_q.new_empty(2, *point.log_q.shape).uniform_(generator=generator)  # [K, R]
    step = (size * (1 + _JITTER * (2 * jitter - 1)))[..., None]  # [K, R, 1]
    before = point.log_density(beta) - 0.5 * momentum.square().sum(2)
    end = point
    for _ in range(NUM_LEAPFROGS):
        momentum = momentum + 0.5 * step * path.scales.uncolored(end.slope(beta))
        end = path.at(end.vector + path.scales.colored(step * momentum))
        momentum = momentum + 0.5 * step * path.scales.uncolored(end.slope(beta))
    gain = end.log_density(beta) - 0.5 * momentum.square().sum(2) - before
    is_accepted = decision.log() < gain  # False where it is not a number
    return Moved(point.replaced(is_accepted, end), gain.clamp_max(0).exp().nan_to_num(0.0))
