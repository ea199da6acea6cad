"""Objectives and learning-rate schedules by name."""

from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt

from inference.recipes.registries import OBJECTIVES, SCHEDULES

if TYPE_CHECKING:
    from pyro.infer import ELBO

    from inference.svi.fitting import MakeScheduler
    from pyro_lvm.structure import Structure


@OBJECTIVES.register("elbo")
def _elbo(structure: "Structure", *, num_particles: PositiveInt = 1) -> "ELBO":
    """Build the evidence lower bound, in which latents that the model marks for enumeration are summed out.

    Args:
        num_particles: Draws of z for each datum in a step.
    """
    from inference.svi.objectives import default_objective

    return default_objective(structure, num_particles=num_particles)


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
