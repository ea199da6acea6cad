"""Blocks of noise: which draws are made together, and with which seed."""

from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor

from inference.numerics import block_seed, row_slices
from inference.scoring.chunks import Chunks
from inference.scoring.scorer import Scorer
from inference.scoring.workers import Each
from pyro_lvm.pair import Batch


def row_blocks(each: Each, scorer: Scorer, batch: Batch, num_particles: int, seed: int) -> Iterator[Tensor]:
    """Yield the log weights ``[K, R]`` of one block of rows after the other.

    Args:
        each: Applies the scorer to blocks; yielded by :func:`~inference.scoring.workers.workers`.
        scorer: Computes the log weights of one block.
        batch: All data, with observations ``[N, *X]`` first.
        num_particles: Draws per datum, K.
        seed: Seed of all draws.
    """
    particles, _ = scorer.chunks.block_shape(num_particles, batch)
    num_parts = len(range(0, num_particles, particles))
    for parts in batched(each(scorer.log_weights, _blocks(scorer.chunks, batch, num_particles, seed)), num_parts):
        yield torch.cat(parts)  # [K, R]


def batched(values: Iterable[Tensor], count: int) -> Iterator[list[Tensor]]:
    """Yield lists of ``count`` values, the last of which may be shorter."""
    values = iter(values)
    while batch := list(islice(values, count)):
        yield batch


def full_blocks(chunks: Chunks, batch: Batch, num_particles: int) -> tuple[list[Batch], int]:
    """Return two full blocks of rows, and their number of particles."""
    particles, rows = chunks.block_shape(num_particles, batch)
    return two_blocks(batch, rows), particles


def two_blocks(batch: Batch, rows: int) -> list[Batch]:
    """Return the first rows of the data, and as many that are spread over all of them, as sorted data may be alike at their start."""
    spread = torch.linspace(0, len(batch[0]) - 1, min(rows, len(batch[0])), dtype=torch.float64, device=batch[0].device).round().long()
    return [tuple(x[:rows].contiguous() for x in batch), tuple(x[spread] for x in batch)]


def _blocks(chunks: Chunks, batch: Batch, num_particles: int, seed: int) -> Iterator[tuple[Batch, int, int]]:
    """Yield the rows, number of draws per row and seed of every block of draws, one block of rows after the other."""
    particles, rows = chunks.block_shape(num_particles, batch)
    for index, some in enumerate(row_slices(len(batch[0]), rows)):
        block, parts = tuple(x[some].contiguous() for x in batch), range(0, num_particles, particles)
        # Computed together, because a call between long operations takes far longer.
        seeds = [block_seed(seed, index, number) for number in range(len(parts))]
        for done, own_seed in zip(parts, seeds, strict=True):
            yield block, min(particles, num_particles - done), own_seed
