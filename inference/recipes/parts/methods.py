"""Evaluators by name."""

from typing import TYPE_CHECKING, Any, Literal

from jsonargparse.typing import PositiveInt

from inference.recipes.registries import METHODS

if TYPE_CHECKING:
    from inference.scoring.evaluation import Evaluation
    from pyro_lvm.pair import Batch

Precision = Literal["full", "bf16"]
ProposalName = Literal["auto", "guide", "refined"]


@METHODS.register("importance")
def _importance(
    pair: Any,
    batch: "Batch",
    progress: bool,
    *,
    num_particles: PositiveInt | None = None,
    seed: int = 0,
    precision: Precision = "full",
    proposal: ProposalName = "auto",
) -> "Evaluation":
    """Score by importance sampling.

    Args:
        num_particles: Draws of z for each datum, K; by default 1000, or 16 chains.
        seed: Seed of the draws.
        precision: Precision of matrix products: full, or bf16, which takes two thirds of the time on processors with instructions for it.
        proposal: What z is drawn from: the guide, refined for each datum, or auto, which refines where the guide does not suffice.
    """
    from inference.scoring.importance import evaluate

    return evaluate(pair, batch, num_particles=num_particles, seed=seed, precision=precision, proposal=proposal, progress=progress)


@METHODS.register("ais", num_particles=16, num_steps=50)
def _ais(
    pair: Any,
    batch: "Batch",
    progress: bool,
    *,
    num_particles: PositiveInt | None = None,
    num_steps: PositiveInt | None = None,
    seed: int = 0,
    precision: Precision = "full",
    proposal: ProposalName = "auto",
) -> "Evaluation":
    """Score by annealed importance sampling.

    Args:
        num_steps: Steps of each chain of ais; by default 50.
    """
    from inference.scoring.importance import evaluate

    options = {"num_particles": num_particles, "num_steps": num_steps, "seed": seed, "precision": precision, "proposal": proposal}
    return evaluate(pair, batch, method="ais", **options, progress=progress)  # type: ignore[arg-type]  # each has its type
