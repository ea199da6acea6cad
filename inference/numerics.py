"""How numbers, seeds and memory are handled while a pair runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

_LARGEST_BLOCK = 32 * 2**20 - 8192  # bytes; with its header, just below 32 MiB


def generator_of(device: torch.device) -> torch.Generator:
    """The generator of all draws on a device that name none."""
    if device.type != "cuda":
        return torch.default_generator
    return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]


def seed_generators(device: torch.device, seed: int) -> None:
    """As ``torch.manual_seed``, which, however, writes down a stack trace for CUDA at every call: a fortieth of a score's time."""
    seed_all = torch.default_generator.manual_seed if device.type == "cpu" else torch.manual_seed
    seed_all(seed)


@contextmanager
def one_thread() -> Iterator[None]:
    """Operations of torch use one thread each for the length of a ``with`` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Lets the C library keep up to 64 MiB of freed memory, whose pages would otherwise be fetched from the system again at every step.

    By itself glibc gives back what is free beyond twice the largest block that was ever freed, if it had a mapping of its own; blocks
    of up to 32 MiB count. See M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in mallopt(3).
    """
    np.empty(_LARGEST_BLOCK, np.uint8)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Rounds numbers below the normal range to zero for the length of a ``with`` block.

    Responsibilities of many components and saturated pixels have gradients near 1e-40, and a processor multiplies such numbers up to a
    hundred times more slowly: a step with VampPrior(500) takes 1.7 times as long.
    """
    before = bool(torch.tensor(1e-39) * 1 == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def block_seed(*path: int) -> int:
    """A seed for the noise of one block, from the seed of the whole and the block's place."""
    return int(np.random.SeedSequence(path).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draws from a seed for the length of a ``with`` block, and then goes on as before; without one, nothing changes."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def seeded_blocks(rows: Tensor, size: int, *path: int) -> Iterator[Tensor]:
    """At most ``size`` rows at a time, with torch's generator seeded by :func:`block_seed` of the path and the block's number."""
    for number, block in enumerate(rows.split(size)):
        torch.manual_seed(block_seed(*path, number))
        yield block
