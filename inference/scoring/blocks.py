"""Blocks of noise: which draws are made together, and from which seed."""

from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor

from inference.numerics import block_seed
from inference.scoring.chunks import even_part
from inference.scoring.scorer import Scorer
from inference.scoring.workers import Each
from pyro_lvm.pair import Batch

_BLOCK_PARTICLES = 1024
_BLOCK_ROWS = 4096  # particles times data of one block of noise
_BLOCK_ROWS_ACCELERATOR = 65536


def row_blocks(each: Each, scorer: Scorer, batch: Batch, num_particles: int, seed: int) -> Iterator[Tensor]:
    """Log weights ``[K, R]`` of one block of rows after the other.

    Args:
        each: What applies the scorer to blocks, as :func:`~inference.scoring.workers.workers` gives it.
        scorer: Gives the log weights of one block.
        batch: All data, ``[N, *X]`` first.
        num_particles: Draws per datum, K.
        seed: Seed of all draws.
    """
    particles, _ = block_shape(num_particles, batch[0].device)
    num_parts = len(range(0, num_particles, particles))
    for parts in batched(each(scorer.log_weights, _blocks(batch, num_particles, seed)), num_parts):
        yield torch.cat(parts)  # [K, R]


def batched(values: Iterable[Tensor], count: int) -> Iterator[list[Tensor]]:
    """So many values at a time, fewer at the end."""
    values = iter(values)
    while batch := list(islice(values, count)):
        yield batch


def first_block(batch: Batch, num_particles: int) -> tuple[Batch, int]:
    """Rows and particles of a block that is whole."""
    particles, rows = block_shape(num_particles, batch[0].device)
    return tuple(x[:rows].contiguous() for x in batch), particles


def _blocks(batch: Batch, num_particles: int, seed: int) -> Iterator[tuple[Batch, int, int]]:
    """Rows of the data, draws for each, and the seed of these: for one block of rows after the other, its blocks of draws."""
    particles, rows = block_shape(num_particles, batch[0].device)
    for index, start in enumerate(range(0, len(batch[0]), rows)):
        block, parts = tuple(x[start : start + rows].contiguous() for x in batch), range(0, num_particles, particles)
        seeds = [block_seed(seed, index, number) for number in range(len(parts))]  # at once: each between long operations takes far longer
        for done, own_seed in zip(parts, seeds, strict=True):
            yield block, min(particles, num_particles - done), own_seed


def block_shape(num_particles: int, device: torch.device) -> tuple[int, int]:
    """Particles and rows of a block of noise."""
    particles = even_part(num_particles, _BLOCK_PARTICLES)
    return particles, max(1, (_BLOCK_ROWS if device.type == "cpu" else _BLOCK_ROWS_ACCELERATOR) // particles)
