"""Several threads that make values, which are handed out in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from inference.numerics import one_thread

Each = Callable[[Callable[..., Tensor], Iterable[tuple]], Iterator[Tensor]]


@contextmanager
def workers(count: int) -> Iterator[Each]:
    """A function that applies another to tuples of arguments, by so many threads at a time, each with one of torch's.

    That costs less than all of torch's threads on one call: 1.08 times the time of a score's matrix products instead of 1.16 times, on
    two threads (``docs/benchmarks/``). With a count of 1 everything is done by the caller's thread.
    """
    if count == 1:
        yield lambda function, jobs: (function(*job) for job in jobs)
        return
    with one_thread(), ThreadPoolExecutor(count, initializer=_prepare_worker) as pool:
        yield lambda function, jobs: _in_order(pool, count + 1, function, jobs)


def _in_order(pool: ThreadPoolExecutor, num_ahead: int, function: Callable[..., Tensor], jobs: Iterable[tuple]) -> Iterator[Tensor]:
    """Results in the order of the jobs, of which at most ``num_ahead`` more are started than are handed out."""
    started: deque[Future[Tensor]] = deque()
    for job in jobs:
        started.append(pool.submit(function, *job))
        if len(started) > num_ahead:
            yield started.popleft().result()
    for future in started:
        yield future.result()


def _prepare_worker() -> None:
    """Sets what torch keeps for each thread."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.set_flush_denormal(True)
