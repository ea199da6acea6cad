"""Objectives and learning-rate schedules by name."""

from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt

from inference.recipes.registries import OBJECTIVES, SCHEDULES

if TYPE_CHECKING:
    from pyro.infer import ELBO

    from inference.svi.fitting import MakeScheduler
    from pyro_lvm.structure import Structure


@OBJECTIVES.register("elbo")
def _elbo(structure: "Structure", *, num_particles: PositiveInt = 1, analytic_kl: bool = False) -> "ELBO":
    """Build the evidence lower bound, in which latents that the model marks for enumeration are summed out.

    Args:
        num_particles: Draws of z for each datum in a step.
        analytic_kl: Compute KLs of latents by their closed forms.
    """
    from inference.svi.objectives.elbo import default_objective

    return default_objective(structure, num_particles=num_particles, analytic_kl=analytic_kl)


@OBJECTIVES.register("iwae")
def _iwae(*, num_particles: PositiveInt = 1) -> "ELBO":
    from inference.svi.objectives.bounds import IWAE

    return IWAE(num_particles)


@OBJECTIVES.register("stl")
def _stl(*, num_particles: PositiveInt = 1) -> "ELBO":
    from inference.svi.objectives.bounds import STL

    return STL(num_particles)


@OBJECTIVES.register("dreg")
def _dreg(*, num_particles: PositiveInt = 1) -> "ELBO":
    from inference.svi.objectives.bounds import DReG

    return DReG(num_particles)


@OBJECTIVES.register("vimco")
def _vimco(*, num_particles: PositiveInt = 1) -> "ELBO":
    from inference.svi.objectives.bounds import VIMCO

    return VIMCO(num_particles)


@SCHEDULES.register("constant")
def _constant() -> None:
    """Keep the learning rate."""


@SCHEDULES.register("cosine")
def _cosine(epochs: int) -> "MakeScheduler":
    from torch.optim.lr_scheduler import CosineAnnealingLR

    return lambda optimizer: CosineAnnealingLR(optimizer, epochs)
