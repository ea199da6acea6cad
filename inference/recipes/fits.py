"""Objectives and learning-rate schedules by name."""

from collections.abc import Callable

from pyro.infer import ELBO, Trace_ELBO
from torch.optim.lr_scheduler import CosineAnnealingLR

from inference.svi.fitting import MakeScheduler
from inference.svi.objectives import IWAE

OBJECTIVES: dict[str, Callable[[int], ELBO]] = {
    "elbo": lambda num_particles: Trace_ELBO(num_particles=num_particles, vectorize_particles=num_particles > 1, max_plate_nesting=1),
    "iwae": IWAE,
}
SCHEDULES: dict[str, Callable[[int], MakeScheduler | None]] = {
    "constant": lambda epochs: None,
    "cosine": lambda epochs: lambda optimizer: CosineAnnealingLR(optimizer, epochs),
}
