"""Objectives and learning-rate schedules by name."""

from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt

from inference.recipes.registries import OBJECTIVES, SCHEDULES

if TYPE_CHECKING:
    from pyro.infer import ELBO

    from inference.svi.fitting import MakeScheduler


@OBJECTIVES.register("elbo")
def _elbo(*, num_particles: PositiveInt = 1) -> "ELBO":
    """Build the evidence lower bound.

    Args:
        num_particles: Draws of z for each datum in a step.
    """
    from pyro.infer import Trace_ELBO

    return Trace_ELBO(num_particles=num_particles, vectorize_particles=num_particles > 1, max_plate_nesting=1)


@OBJECTIVES.register("iwae")
def _iwae(*, num_particles: PositiveInt = 1) -> "ELBO":
    from inference.svi.objectives import IWAE

    return IWAE(num_particles)


@SCHEDULES.register("constant")
def _constant() -> None:
    """Keep the learning rate."""


@SCHEDULES.register("cosine")
def _cosine(epochs: int) -> "MakeScheduler":
    from torch.optim.lr_scheduler import CosineAnnealingLR

    return lambda optimizer: CosineAnnealingLR(optimizer, epochs)
