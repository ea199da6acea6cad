"""Scores by annealed importance sampling, one block of data after the other."""

from typing import Literal, get_args

import torch
from tqdm.auto import tqdm

from inference.densities.unconstrained import ConstrainedError
from inference.scoring.annealed.annealer import Annealer, forward
from inference.scoring.annealed.hamiltonian import NUM_LEAPFROGS
from inference.scoring.proposals.assembly import Assembly, check_proposal, coordinates_of_fit
from inference.scoring.proposals.guided import Scored, Task
from inference.scoring.proposals.score import BlockScore, collected, judged_score, make_refiner, row_jobs
from inference.scoring.reduction import Rounding, reduce_log_weights
from inference.scoring.workers import all_workers
from pyro_lvm.checks import check_counts
from pyro_lvm.pair import Batch
from pyro_lvm.structure import Structure

MethodName = Literal["importance", "ais"]
METHODS = get_args(MethodName)
NUM_DRAWS, NUM_CHAINS, NUM_STEPS = 1000, 16, 50  # by default: draws for each datum, or chains, and steps of each
_GRADIENT = 3  # densities that take the time of a gradient


def read_counts(method: str, num_particles: int | None = None, num_steps: int | None = None) -> tuple[int, int]:
    """Return the number of draws for each datum and that of steps of a chain, zero for plain importance sampling.

    Raises:
        ValueError: If the method has no known name, a count is wrong, or steps are asked for without chains.
    """
    check_counts(num_particles=num_particles, num_steps=num_steps)
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}; got {method!r}.")
    if method == "ais":
        return num_particles or NUM_CHAINS, num_steps or NUM_STEPS
    if num_steps is not None:
        raise ValueError(f"num_steps has no effect with method='importance'; got {num_steps}. Leave it out, or use method='ais'.")
    return num_particles or NUM_DRAWS, 0


def num_densities(num_particles: int, num_steps: int) -> int:
    """Return how many densities of the model take the time of the draws of one datum, or of its chains if these have steps."""
    return num_particles * max(1, _GRADIENT * NUM_LEAPFROGS * num_steps)


def chain_assembly(task: Task, pair: object, structure: Structure, proposal: str) -> Assembly:
    """Return what refiners are made of, in the coordinates in which chains move.

    Raises:
        ValueError: If there are none, or too many, in an error that says why, or if the proposal has no known name.
    """
    check_proposal(proposal)
    try:
        place = coordinates_of_fit(pair, structure, task.batch)
    except ConstrainedError as error:
        raise ValueError(f"chains cannot move in the pair's latents: {error}. Use method='importance'.") from error
    return Assembly(task.eager, place, task.chunks, task.precision, task.batch, task.num_particles)


def make_annealer(task: Task, assembly: Assembly, proposal: str, num_steps: int) -> tuple[Annealer, int]:
    """Return an annealer, compiled if the task asks for it, and the number of threads that may use it.

    Raises:
        ValueError: If the pair must be compilable and is not.
    """
    refiner, count = make_refiner(task, assembly, is_forced=True)
    return Annealer(refiner, num_steps, starts_at_guide=proposal == "guide"), count


def score_by_chains(task: Task, pair: object, structure: Structure, bar: tqdm, *, proposal: str, num_steps: int) -> Scored:
    """Score all data by annealed importance sampling.

    Args:
        task: What is scored; each of its particles is a chain.
        pair: The pair.
        structure: Its structure.
        bar: Progress bar of the data.
        proposal: ``"guide"``, for chains that start at the guide's moments; otherwise, they start at the refined proposal.
        num_steps: Steps of a chain.

    Raises:
        ValueError: If chains cannot move in the latents.
    """
    assembly = chain_assembly(task, pair, structure, proposal)
    annealer, count = make_annealer(task, assembly, proposal, num_steps)
    jobs = ((annealer, block, task.num_particles, seed) for block, seed in row_jobs(task.batch, assembly.rows(), task.seed))
    with all_workers(count) as each:
        return collected(each(block_score, jobs), bar, Rounding())


def block_score(annealer: Annealer, batch: Batch, num_particles: int, seed: int) -> BlockScore:
    """Prepare the chains of a block, and score its data with fresh ones."""
    prepared = annealer.prepare(batch, seed)
    summary = reduce_log_weights(forward(prepared, num_particles), is_bound=num_particles == 1)
    scored = judged_score(summary, prepared.fitted, prepared.pilot)
    normal_elbo = scored.normal_elbo if not annealer.starts_at_guide else torch.full_like(scored.normal_elbo, torch.nan)
    return BlockScore(scored.summary, normal_elbo)
