"""Evaluations of weights that the test knows."""

import torch
from torch import Tensor

from inference.scoring.evaluation import Evaluation
from inference.scoring.reduction import curve_particles, reduce_log_weights

NUM_DATA = 50


def evaluation_of(
    log_weights: Tensor,
    *,
    is_bound: bool | None = None,
    measure: str = "mass",
    data_id: str = "a",
    num_dims: int = 64,
) -> Evaluation:
    is_bound = len(log_weights) == 1 if is_bound is None else is_bound
    return Evaluation(
        **reduce_log_weights(log_weights, is_bound=is_bound)._asdict(),
        curve_particles=curve_particles(len(log_weights)),
        num_particles=len(log_weights),
        seed=3,
        measure=measure,
        data_id=data_id,
        is_bound=is_bound,
        num_dims=num_dims,
    )


def lognormal(num_particles: int, *, seed: int = 0, scale: float = 0.5, shift: float = 0.0) -> Tensor:
    """Log weights of 50 data whose log-likelihoods scatter by 9 nats around -90 + shift."""
    level = -90 + shift + 9 * torch.randn(NUM_DATA, generator=torch.Generator().manual_seed(9)).double()
    noise = torch.randn(num_particles, NUM_DATA, generator=torch.Generator().manual_seed(seed)).double()
    return level + scale * noise - scale**2 / 2
