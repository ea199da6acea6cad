"""Several processes that work on one task together, as torchrun starts them: who they are, and what they tell one another.

Whatever is shared here is shared by all: every process must call the same functions in the same order.
"""

import atexit
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import os
from typing import Any, TypeVar

import torch
from torch import Tensor
import torch.distributed as group
from torch.utils._pytree import tree_map_only

T = TypeVar("T")


def join(device: str | torch.device | None = None) -> None:
    """Join the processes that torchrun has started together with this one.

    Nothing is done where there is only one, or where the program has initialized torch's process group itself. With CUDA, the process
    takes the GPU of its local rank, and tensors there are sent by NCCL; all others are sent by Gloo.

    Args:
        device: Where the work is done, such as ``"cuda"``.
    """
    if world() > 1 or not group.is_available() or not group.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        return
    is_cuda = device is not None and torch.device(device).type == "cuda"
    if is_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    group.init_process_group("cpu:gloo,cuda:nccl" if is_cuda else "gloo")
    atexit.register(_leave)


def _leave() -> None:
    if group.is_initialized():
        group.destroy_process_group()


def world() -> int:
    """Return the number of processes."""
    return group.get_world_size() if group.is_available() and group.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return group.get_rank() if group.is_available() and group.is_initialized() else 0


def is_first() -> bool:
    """Return whether this is the process that writes files and shows progress."""
    return rank() == 0


def own_rows(size: int) -> slice | None:
    """Return which of ``size`` rows this process takes, in parts that differ by at most one row.

    None stands for all of them: programs may drop a dimension of a single row, so that fewer than two for each process are not divided.
    """
    if world() == 1 or size < 2 * world():
        return None
    start, stop = (size * number // world() for number in (rank(), rank() + 1))
    return slice(start, stop)


def from_first(function: Callable[[], T]) -> T:
    """Return what a function returns in the first process, where alone it is called, or raise its error."""
    if world() == 1:
        return function()
    told: list[Any] = [_tried(function) if is_first() else None]
    with _others_answering():
        group.broadcast_object_list(told)
    return _value_of(told[0])


def first_then_others(function: Callable[[], T]) -> T:
    """Return what a function returns in each process; the first one calls it before the others, for which it may leave files."""
    made: list[T] = []
    from_first(lambda: made.append(function()))
    return made[0] if is_first() else function()


def gathered(function: Callable[[], T]) -> list[T]:
    """Return what a function returns in each process, in their order, or raise the error of the first in which it fails."""
    if world() == 1:
        return [function()]
    told: list = [None] * world()
    own = _tried(function)
    with _others_answering():
        group.all_gather_object(told, own)
    return [_value_of(each) for each in told]


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their sums over all processes, which are the same in each of them to the last bit."""
    _in_buckets(tensors, group.all_reduce)


def take_from_first(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by those of the first process."""
    _in_buckets(tensors, lambda bucket: group.broadcast(bucket, src=0))


def _in_buckets(tensors: Sequence[Tensor], send: Callable[[Tensor], object]) -> None:
    """Send all tensors of one kind in one message, as each message takes a tenth of a millisecond or more."""
    kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    with torch.no_grad(), _others_answering():
        for some in kinds.values():
            bucket = torch.cat([tensor.reshape(-1) for tensor in some])
            send(bucket)
            for tensor, values in zip(some, bucket.split([tensor.numel() for tensor in some]), strict=True):
                tensor.copy_(values.view_as(tensor))


@dataclass
class _OfGPU:
    """Values of a tensor that was on a GPU, and is to be on each process's own."""

    values: Tensor


def _tried(function: Callable[[], T]) -> tuple[Any, Exception | None]:
    try:
        return tree_map_only(Tensor, lambda tensor: _OfGPU(tensor.cpu()) if tensor.is_cuda else tensor, function()), None
    except Exception as error:  # of any type: the other processes, which wait for an answer, raise it too
        return None, error


def _value_of(told: tuple[Any, Exception | None]) -> Any:
    value, error = told
    if error is not None:
        raise error
    return tree_map_only(_OfGPU, lambda tensor: tensor.values.cuda(), value)


@contextmanager
def _others_answering() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of Gloo or NCCL
        raise ConnectionError("another process of this task has ended, or does not answer. Start all of them again.") from error
