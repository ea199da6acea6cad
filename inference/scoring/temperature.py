"""Proposals that are chosen on validation data."""

from collections.abc import Callable

import torch
from torch import Tensor

from inference.scoring.importance import evaluate
from pyro_lvm.checks import check_counts, check_positive

_COARSE, _FINE = 4.0, 2.0**0.5  # factors between temperatures
_MOST_STEPS = 30


def fit_temperature(
    soften: Callable[[float], object],
    valid: Tensor,
    *,
    num_particles: int = 100,
    num_data: int = 500,
    start: float = 1.0,
    seed: int = 0,
) -> float:
    r"""The temperature of a proposal whose estimate of the validation data's likelihood is highest.

    .. math:: \hat T = \operatorname{argmax}_T \frac{1}{N} \sum_n \log \frac{1}{K} \sum_k \frac{p(x_n, z_k)}{q_T(z_k \mid x_n)},
        \quad z_k \sim q_T(z \mid x_n)

    Every estimate is a lower bound in expectation, whatever T is, so that the highest is the best. The effective sample size would be no guide: all
    draws of a small T are alike.

    Args:
        soften: From a temperature to a pair, such as ``vae.soft``.
        valid: Validation data ``[N, *X]``; never those that are to be scored.
        num_particles: Draws per datum, :math:`K`.
        num_data: At most so many random rows of the data.
        start: Where the search starts; it goes on by factors of 4, then by roots of 2, for as long as the estimate rises.
        seed: Seed of the rows and the draws.

    Returns:
        The temperature.

    Raises:
        ValueError: If a count or the start is not positive, or the estimate has no maximum.
    """
    check_counts(num_particles=num_particles, num_data=num_data)
    check_positive(start=start)
    rows = torch.randperm(len(valid), generator=torch.Generator().manual_seed(seed))[:num_data]
    x, known = valid[rows.to(valid.device)], {}

    def estimate(temperature: float) -> float:
        if temperature not in known:
            known[temperature] = evaluate(
                soften(temperature), x, num_particles=num_particles, seed=seed, compile=False, progress=False
            ).mean
        return known[temperature]

    return _climbed(estimate, _climbed(estimate, start, _COARSE), _FINE)


def _climbed(height: Callable[[float], float], start: float, factor: float) -> float:
    """The highest of the places start * factor^n, by steps in whichever direction goes up."""
    best = start
    for step in (factor, 1 / factor):
        for _ in range(_MOST_STEPS):
            if not height(best * step) > height(best):
                break
            best *= step
        else:
            raise ValueError(f"the estimate rises beyond a temperature of {best:.3g}; it must have a maximum. Give another start.")
    return best
