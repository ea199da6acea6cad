"""Scores with refined proposals, one block of data after the other."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from inference.densities.layout import Latents
from inference.numerics import block_seed, row_slices
from inference.scoring.proposals.assembly import Assembly
from inference.scoring.proposals.guided import Scored, Task, joined, some_rows
from inference.scoring.proposals.judging import OUTSIDE, Pilot
from inference.scoring.proposals.refined import Fitted, Refiner, Weighed
from inference.scoring.reduction import Rounding, WeightSummary, reduce_log_weights
from inference.scoring.scorer import refuse_or_warn
from inference.scoring.workers import all_workers
from pyro_lvm.pair import Batch

_ON_EDGE = 1e-3  # share of weight where no number lies inside of the latents' spaces, from which on it is missed
_ERRORS, _MARGIN = 5.0, 0.2  # standard errors, and nats, by which a pilot may exceed the score


class BlockScore(NamedTuple):
    """The scores of a block of R data.

    Attributes:
        summary: Log-likelihoods with their diagnostics; the ELBO is the guide's.
        normal_elbo: ELBO of the fitted normal distribution, ``[R]``; NaN where the guide is the proposal.
    """

    summary: WeightSummary
    normal_elbo: Tensor


def score_by_refined(task: Task, assembly: Assembly, bar: tqdm, *, is_forced: bool) -> Scored:
    """Score all data with refined proposals, where these are better than the guide or ``is_forced``.

    Args:
        task: What is scored.
        assembly: What the refiner is made of.
        bar: Progress bar of the data.
        is_forced: Whether all data are refined.
    """
    refiner, count = make_refiner(task, assembly, is_forced=is_forced)
    rounding = Rounding() if task.precision == "full" else _rounding(task, assembly, refiner)
    jobs = ((refiner, block, task.num_particles, seed) for block, seed in row_jobs(task.batch, assembly.rows(), task.seed))
    with all_workers(count) as each:
        return collected(each(block_score, jobs), bar, rounding)


def collected(blocks: Iterable[BlockScore], bar: tqdm, rounding: Rounding) -> Scored:
    """Join the scores of blocks of data."""
    parts = []
    for part in blocks:
        parts.append(part)
        bar.update(len(part.normal_elbo))
    return Scored(joined([part.summary for part in parts]), torch.cat([part.normal_elbo for part in parts]), rounding)


def make_refiner(task: Task, assembly: Assembly, *, is_forced: bool) -> tuple[Refiner, int]:
    """Return a refiner, compiled if the task asks for it, and the number of threads that may use it."""
    if task.is_compiled:
        try:
            refiner, suits_workers = assembly.compiled(is_forced=is_forced)
            return refiner, torch.get_num_threads() if suits_workers else 1
        except Exception as error:  # of the programs, torch's compiler and what it runs, of any type
            refuse_or_warn(error, is_required=task.is_required)
    return assembly.interpreted(is_forced=is_forced), 1


def _rounding(task: Task, assembly: Assembly, rounded: Refiner) -> Rounding:
    """Compare estimates from rounded products with those in full precision and the same draws, on a subset of the data."""
    few = some_rows(task.batch)
    fitted = rounded.fit(few, task.seed)
    full = replace(assembly, precision="full").interpreted(is_forced=rounded.is_forced)
    got, wanted = (each.log_weights(few, fitted, task.num_particles, task.seed).logsumexp(0) for each in (rounded, full))
    return Rounding(float((got - wanted).mean()), float((got - wanted).abs().max()))


def row_jobs(batch: Batch, rows: int, seed: int) -> Iterator[tuple[Batch, int]]:
    """Yield blocks of rows, each with a seed of its own."""
    for index, some in enumerate(row_slices(len(batch[0]), rows)):
        yield tuple(x[some].contiguous() for x in batch), block_seed(seed, index)


def block_score(refiner: Refiner, batch: Batch, num_particles: int, seed: int) -> BlockScore:
    """Fit the proposals of a block, and score its data with fresh draws from them."""
    fitted = refiner.fit(batch, seed)
    return _scored(refiner.weighed(batch, fitted, num_particles, seed), fitted)


def block_draws(refiner: Refiner, batch: Batch, num_particles: int, seed: int) -> tuple[WeightSummary, Tensor, Latents]:
    """Fit the proposals of a block, and return fresh draws ``[K, R, *Z]`` by site with their log weights ``[K, R]`` and what these say."""
    fitted = refiner.fit(batch, seed)
    weighed, latents = refiner.drawn(batch, fitted, num_particles, seed)
    return _scored(weighed, fitted).summary, weighed.inside, latents


def _scored(weighed: Weighed, fitted: Fitted) -> BlockScore:
    summary = reduce_log_weights(weighed.inside, is_bound=len(weighed.inside) == 1)
    is_lost = (weighed.share_on_edge() > _ON_EDGE).cpu() & ~summary.ess.isnan()
    return judged_score(summary._replace(pareto_k=summary.pareto_k.masked_fill(is_lost, torch.inf)), fitted)


def judged_score(summary: WeightSummary, fitted: Fitted, *others: Pilot) -> BlockScore:
    """Give scores the ELBO of the guide, and an infinite k-hat to data of which a pilot, or one of others, has found more mass."""
    chosen = fitted.is_refined.cpu()
    normal_elbo = torch.full_like(summary.elbo, torch.nan)
    if fitted.normal is not None:
        normal_elbo = fitted.normal.elbo.cpu().where(chosen, torch.nan)
    elbo = fitted.guide.elbo.cpu().where(chosen, summary.elbo)
    is_missed = _misses_mass(summary, fitted, *others) & ~summary.ess.isnan()  # a bound has no k-hat
    k_hat = summary.pareto_k.masked_fill(is_missed, torch.inf)
    return BlockScore(summary._replace(elbo=elbo, pareto_k=k_hat), normal_elbo)


def _misses_mass(summary: WeightSummary, fitted: Fitted, *others: Pilot) -> Tensor:
    """Return for which data pilot draws from some proposal have found more mass than the score has, ``[R]``."""
    pilots = [pilot for pilot in (fitted.guide, fitted.scouts, fitted.normal, *others) if pilot is not None]
    return torch.stack([fitted.unreached.cpu() > OUTSIDE, *(_exceeds(pilot, summary) for pilot in pilots)]).any(0)


def _exceeds(pilot: Pilot, summary: WeightSummary) -> Tensor:
    error = (pilot.error.cpu().square() + summary.mc_error.nan_to_num(0.0).square()).sqrt()
    return pilot.estimate.cpu() - summary.log_px > _ERRORS * error + _MARGIN
