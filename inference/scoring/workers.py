"""Compute values in several threads, and in several processes, and yield them in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Protocol, TypeVar

import torch

from inference.numerics import one_thread
from inference.processes import gathered, rank, world

T = TypeVar("T")
_ROUND = 16  # jobs of each process between two exchanges of results, so that not all of these are in memory


class Each(Protocol):
    """Applies a function to tuples of arguments, and yields the results in order."""

    def __call__(self, function: Callable[..., T], jobs: Iterable[tuple]) -> Iterator[T]: ...


@contextmanager
def all_workers(count: int) -> Iterator[Each]:
    """Yield :func:`workers` that share the jobs with those of all other processes, which must have the same jobs.

    Every process gets all results, in their order, or the first error. They are those of one process to the last bit if a job's result
    depends on its arguments alone.
    """
    with workers(count) as each:
        yield each if world() == 1 else lambda function, jobs: _shared(each, function, jobs)


def _shared(each: Each, function: Callable[..., T], jobs: Iterable[tuple]) -> Iterator[T]:
    jobs = iter(jobs)
    while some := list(islice(jobs, _ROUND * world())):
        parts = gathered(lambda some=some: list(each(function, some[rank() :: world()])))  # type: ignore[misc]  # mypy infers no default
        yield from (parts[number % world()][number // world()] for number in range(len(some)))


@contextmanager
def workers(count: int) -> Iterator[Each]:
    """Yield a function that applies another one to tuples of arguments in ``count`` threads, each of which uses one thread of torch.

    This costs less than all of torch's threads on one call: 1.08 times the time of a score's matrix products instead of 1.16 times, on
    two threads (``docs/benchmarks/``). With a count of 1, everything is done by the caller's thread.
    """
    if count == 1:
        yield lambda function, jobs: (function(*job) for job in jobs)
        return
    with one_thread(), ThreadPoolExecutor(count, initializer=_prepare_worker) as pool:
        yield lambda function, jobs: _in_order(pool, count + 1, function, jobs)


def _in_order(pool: ThreadPoolExecutor, num_ahead: int, function: Callable[..., T], jobs: Iterable[tuple]) -> Iterator[T]:
    """Yield results in the order of the jobs, with at most ``num_ahead`` jobs started after the one that is awaited."""
    started: deque[Future[T]] = deque()
    for job in jobs:
        started.append(pool.submit(function, *job))
        if len(started) > num_ahead:
            yield started.popleft().result()
    for future in started:
        yield future.result()


def _prepare_worker() -> None:
    """Set the options of torch that are kept per thread."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.set_flush_denormal(True)
