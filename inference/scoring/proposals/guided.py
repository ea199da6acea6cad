"""Scores with the guide as proposal."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from inference.scoring.blocks import batched, full_blocks, row_blocks
from inference.scoring.chunks import Chunks
from inference.scoring.eager import Eager
from inference.scoring.reduction import Rounding, WeightSummary, reduce_log_weights
from inference.scoring.scorer import Scorer, make_scorer
from inference.scoring.workers import all_workers, workers
from inference.tracing.precision import Precision
from pyro_lvm.pair import Batch

_REDUCED_WEIGHTS = 32768  # reduced at once, at least; for fewer, the calls take longer than the arithmetic
EARNS_BACK = 5_000_000  # particles times data; compiling takes about 20 s, and saves about 15 ms for every 1024
_ROUNDED_ROWS = (8, 32)  # smallest and largest number of data used to measure the error of a lower precision; otherwise, one in 50


@dataclass(frozen=True)
class Task:
    """What is scored, and how.

    Attributes:
        eager: The pair's programs.
        chunks: How draws are divided into blocks and calls of the model.
        batch: All data.
        num_particles: Draws per datum, K.
        seed: Seed of all draws.
        precision: Precision of matrix products.
        is_compiled: Whether the programs are compiled.
        is_required: Whether a pair that cannot be compiled is refused.
    """

    eager: Eager
    chunks: Chunks
    batch: Batch
    num_particles: int
    seed: int
    precision: Precision
    is_compiled: bool
    is_required: bool


class Scored(NamedTuple):
    """The result of a score.

    Attributes:
        summary: Log-likelihoods with their diagnostics.
        normal_elbo: ELBO of the refined normal distribution, ``[N]``; NaN where the guide is the proposal.
        rounding: The error of products in a lower precision.
    """

    summary: WeightSummary
    normal_elbo: Tensor
    rounding: Rounding


def needs_compiling(compile: Literal["auto"] | bool, num_draws: int) -> bool:
    """Return whether a pair is to be compiled for a number of draws of all data."""
    return num_draws >= EARNS_BACK if compile == "auto" else compile


def joined(parts: list[WeightSummary]) -> WeightSummary:
    """Join the summaries of blocks of data."""
    return WeightSummary(*(torch.cat(columns, dim=-1) for columns in zip(*parts, strict=True)))


def score_by_guide(task: Task, bar: tqdm, *, is_bound: bool) -> Scored:
    """Score all data with draws from the guide.

    Args:
        task: What is scored.
        bar: Progress bar of the data.
        is_bound: Whether the figures are only bounds.
    """
    eager, chunks, batch, num_particles, seed = task.eager, task.chunks, task.batch, task.num_particles, task.seed
    if task.is_compiled:
        blocks = full_blocks(chunks, batch, num_particles)
        scorer = make_scorer(eager, chunks, task.precision, *blocks, is_required=task.is_required)
    else:
        scorer = Scorer.eager(eager, chunks, task.precision)
    rounding = Rounding() if task.precision == "full" else _rounding(scorer, Scorer.eager(eager, chunks), batch, num_particles, seed)
    with all_workers(torch.get_num_threads() if scorer.suits_workers else 1) as each:
        summary = _summary(row_blocks(each, scorer, batch, num_particles, seed), is_bound, bar)
    return Scored(summary, torch.full_like(summary.elbo, torch.nan), rounding)


def _summary(blocks: Iterator[Tensor], is_bound: bool, bar: tqdm) -> WeightSummary:
    """Reduce the log weights of one block of rows after the other over the particles."""
    parts, first = [], next(blocks)
    for some in batched(chain([first], blocks), -(-_REDUCED_WEIGHTS // first.numel())):
        parts.append(reduce_log_weights(torch.cat(some, dim=1), is_bound=is_bound))
        bar.update(len(parts[-1].log_px))
    return joined(parts)


def _rounding(rounded: Scorer, full: Scorer, batch: Batch, num_particles: int, seed: int) -> Rounding:
    """Compare estimates from rounded products with those in full precision and the same draws, on a subset of the data."""
    few = some_rows(batch)
    with workers(1) as each:
        got, wanted = (
            torch.cat([log_w.logsumexp(0) for log_w in row_blocks(each, scorer, few, num_particles, seed)]) for scorer in (rounded, full)
        )
    return Rounding(float((got - wanted).mean()), float((got - wanted).abs().max()))


def some_rows(batch: Batch) -> Batch:
    """Return the rows, from all over the data, on which the error of a lower precision is measured."""
    least, most = _ROUNDED_ROWS
    step = -(-len(batch[0]) // min(max(len(batch[0]) // 50, least), most))
    return tuple(x[::step] for x in batch)
