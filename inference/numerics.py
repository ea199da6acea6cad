"""Devices, random seeds, threads, memory and denormal numbers while a pair runs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from pyro_lvm.checks import check_seeds

_LARGEST_BLOCK = 32 * 2**20 - 8192  # bytes; with its header, just below 32 MiB


def check_device(device: str | torch.device | None, name: str = "device") -> None:
    """Check that this machine has a device, or that none is named.

    Args:
        device: The device.
        name: What an error calls it.

    Raises:
        ValueError: If there is none; the error names those that there are.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    count = torch.accelerator.device_count() if accelerator else 0
    there = ["cpu", *([accelerator.type, *(f"{accelerator.type}:{i}" for i in range(count))] if accelerator else [])]
    if device is not None and str(device) not in there:
        raise ValueError(f"{name} must name a device of this machine, {' or '.join(there)}; got {str(device)!r}. Choose one of these.")


def generator_of(device: torch.device) -> torch.Generator:
    """Return the default random generator of a device."""
    if device.type != "cuda":
        return torch.default_generator
    return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]


def seed_generators(device: torch.device, seed: int) -> None:
    """Seed the generators as ``torch.manual_seed`` does, without its overhead on a CPU.

    At every call, ``torch.manual_seed`` also records a stack trace for CUDA, which takes a fortieth of the time of a score.
    """
    seed_all = torch.default_generator.manual_seed if device.type == "cpu" else torch.manual_seed
    seed_all(seed)


def row_slices(size: int, step: int) -> Iterator[slice]:
    """Yield slices of at most ``step`` rows, or one more at the end, so that none has a single row, which ``squeeze`` would drop."""
    starts = [*range(0, size - (step > 1 and size % step == 1), step)] or [0]
    for start, stop in zip(starts, [*starts[1:], size], strict=True):
        yield slice(start, stop)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch operations to one thread each within a ``with`` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Let the C library keep up to 64 MiB of freed memory, so that its pages are not requested from the system again at every step.

    By default, glibc returns free memory to the system beyond twice the size of the largest block that was ever freed from a memory
    mapping of its own; blocks of up to 32 MiB count. See M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in mallopt(3).
    """
    np.empty(_LARGEST_BLOCK, np.uint8)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Round denormal numbers to zero within a ``with`` block.

    Responsibilities of many components and saturated pixels have gradients near 1e-40. A CPU multiplies such numbers up to a hundred
    times more slowly: a step with VampPrior(500) takes 1.7 times as long.
    """
    before = bool(torch.tensor(1e-39) * 1 == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def block_seed(*path: int) -> int:
    """Derive the seed of one block's noise from the overall seed and the block's position."""
    return int(np.random.SeedSequence(path).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw from ``seed`` within a ``with`` block and restore the random state afterwards; do nothing if it is ``None``."""
    if seed is None:
        yield
        return
    check_seeds(seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def seeded_blocks(rows: Tensor, size: int, *path: int) -> Iterator[Tensor]:
    """Yield at most ``size`` rows at a time, with torch's generator seeded by :func:`block_seed` of the path and the block's number."""
    for number, block in enumerate(rows.split(size)):
        torch.manual_seed(block_seed(*path, number))
        yield block


@contextmanager
def values_kept(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Restore the values of tensors after a ``with`` block."""
    before = [(tensor, tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)
