"""Sweeps on a Ray cluster: the same commands as those of processes of one machine, on all machines that share its file system."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
import logging
import os
from pathlib import Path
import signal
import threading
from typing import Any

from inference.recipes.options import check_extra
from inference.runs.sweep import Children, Job, run_with


def run_on_ray(
    jobs: Sequence[Job],
    commands: Callable[[Job], Sequence[Sequence[str]]],
    folder: Path,
    *,
    processes: int | None = None,
    num_gpus: int = 0,
) -> dict[str, str]:
    """Run the commands of every job as a Ray task with one core; a job that fails does not stop the others.

    The cluster is the one that the environment names (``RAY_ADDRESS``) or that runs on this machine (``ray start``), else one of this
    machine's cores that ends with the sweep. On every machine, the folder, the current directory and the data must lie at the same paths,
    and pyro-lvm must be installed.

    Args:
        jobs: The runs.
        commands: Returns the arguments of ``pyro-lvm`` for each command of a job.
        folder: Folder for the output of each job, ``NAME.log``.
        processes: How many jobs run at a time; by default, as many as the cluster has cores.
        num_gpus: How many GPUs a job has to itself.

    Returns:
        The last line of the output of each job that has failed, by its name.

    Raises:
        ImportError: If ray is not installed.
    """
    check_extra("ray", "run_on_ray")
    with _connected():
        return run_with(_Tasks(num_gpus), jobs, commands, folder, processes or len(jobs))


@contextmanager
def _connected() -> Iterator[None]:
    """Connect to a cluster, unless this process is connected already, within a ``with`` block."""
    import ray  # here, as it is an extra

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of our own reports to nobody
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has put its own there, with which a stopped sweep would end as a crash
        yield
    finally:
        ray.shutdown()


class _Tasks:
    """The tasks of a sweep, which end with it."""

    def __init__(self, num_gpus: int) -> None:
        import ray

        self.ray, self.start = ray, ray.remote(num_cpus=1, num_gpus=num_gpus, max_retries=0)(_run)
        self.running: set[Any] = set()
        self.lock, self.is_over = threading.Lock(), False

    def run(self, commands: Sequence[Sequence[str]], log: Path) -> str | None:
        """Run commands until one fails, and return the last line of its output, or what has become of the task."""
        settings = {name: value for name, value in os.environ.items() if name.startswith("PYRO_LVM_") or name == "PYTHONPATH"}
        with self.lock:
            if self.is_over:
                return "stopped"
            task = self.start.remote(commands, log.absolute(), Path.cwd(), settings)
            self.running.add(task)
        try:
            return self.ray.get(task)
        except self.ray.exceptions.RayError as error:  # such as a machine that is gone
            return " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())
        finally:
            self.running.discard(task)

    def stop(self) -> None:
        """End all tasks and their processes, which Ray kills; what they have kept so far is there to go on from."""
        with self.lock:
            self.is_over = True
            for task in list(self.running):
                self.ray.cancel(task, force=True)


def _run(commands: Sequence[Sequence[str]], log: Path, directory: Path, settings: Mapping[str, str]) -> str | None:
    """Run commands on the machine that a task is given to, as if from the directory and with the settings of the sweep."""
    os.chdir(directory)
    os.environ.update(settings)
    return Children().run(commands, log)
