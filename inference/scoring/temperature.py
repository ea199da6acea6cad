"""Choose a proposal on validation data."""

from collections.abc import Callable
from typing import Any

import torch

from inference.data.splits import random_rows
from inference.scoring.importance import evaluate
from pyro_lvm.checks import check_counts, check_positive, check_seeds
from pyro_lvm.contract import check_batch
from pyro_lvm.reading import read_rows

_COARSE, _FINE = 4.0, 2.0**0.5  # factors between temperatures
_MOST_STEPS = 30


def fit_temperature(
    soften: Callable[[float], object],
    valid: Any,
    *,
    num_particles: int = 100,
    num_data: int = 500,
    start: float = 1.0,
    seed: int = 0,
) -> float:
    r"""Find the temperature of a proposal with the highest estimate of the likelihood of validation data.

    .. math:: \hat T = \operatorname{argmax}_T \frac{1}{N} \sum_n \log \frac{1}{K} \sum_k \frac{p(x_n, z_k)}{q_T(z_k \mid x_n)},
        \quad z_k \sim q_T(z \mid x_n)

    Every estimate is a lower bound in expectation for any T, so the highest one is the best. The effective sample size would be
    misleading, as all draws at a small T are alike.

    Args:
        soften: Maps a temperature to a pair; for example, ``vae.soft``.
        valid: Validation data, as for :func:`~inference.scoring.importance.evaluate`, but of what ``load_data`` returns, its validation
            data; never the data to be scored.
        num_particles: Draws per datum, :math:`K`.
        num_data: Maximum number of random rows of the data to use.
        start: Where the search starts; it proceeds by factors of 4, then of the square root of 2, as long as the estimate rises.
        seed: Seed of the rows and the draws.

    Returns:
        The temperature.

    Raises:
        ValueError: If a count or the start is not positive, or the estimate has no maximum.
    """
    check_counts(num_particles=num_particles, num_data=num_data)
    check_positive(start=start)
    check_seeds(seed=seed)
    rows, known = read_rows(valid, split="valid", pair=soften(start)), {}
    chosen = random_rows(torch.arange(check_batch(*rows)), num_data, seed=seed)
    few = tuple(x[chosen.to(x.device)] for x in rows)

    def estimate(temperature: float) -> float:
        if temperature not in known:
            known[temperature] = evaluate(
                soften(temperature), few, num_particles=num_particles, seed=seed, compile=False, progress=False
            ).mean
        return known[temperature]

    return _climbed(estimate, _climbed(estimate, start, _COARSE), _FINE)


def _climbed(height: Callable[[float], float], start: float, factor: float) -> float:
    """Return the highest of the points start * factor^n, found by steps in the direction that goes up."""
    best = start
    for step in (factor, 1 / factor):
        for _ in range(_MOST_STEPS):
            if not height(best * step) > height(best):
                break
            best *= step
        else:
            raise ValueError(f"the estimate rises beyond a temperature of {best:.3g}; it must have a maximum. Give another start.")
    return best
