"""Sweeps: runs of all combinations of some options, each trained and scored by processes of its own, several at a time."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
import os
from pathlib import Path
import re
import subprocess
import sys
import threading

SEED = "seed"  # stands for the seeds of the model's start and of the fit
_SEEDS = {SEED: ("model.seed", "fit.seed"), "model.seed": ("model.seed",), "fit.seed": ("fit.seed",)}


@dataclass(frozen=True)
class Job:
    """A run of a sweep.

    Attributes:
        name: Its values, such as ``"vamp-seed0"``; the name of its folder and of its log.
        group: The same without seeds, such as ``"vamp"``: runs of one group are fits of one recipe.
        values: Its values by option.
    """

    name: str
    group: str
    values: dict[str, str]

    @property
    def words(self) -> list[str]:
        """Its options as on the command line."""
        return [f"--{option}={value}" for option, value in self.values.items()]


def make_jobs(over: Mapping[str, Sequence[str]]) -> list[Job]:
    """Return the runs of all combinations of values.

    Args:
        over: Values by option, such as ``{"model.prior": ["standard", "vamp"], "seed": ["0", "1"]}``; ``seed`` sets model.seed and
            fit.seed.

    Raises:
        ValueError: If an option has no values or one twice, or would give every run other data.
    """
    for option, values in over.items():
        if not values or len(set(values)) < len(values):
            raise ValueError(f"--over {option} must have different values; got {' '.join(values) or 'none'}. Give each once.")
        if option == "data.seed":
            raise ValueError("--over data.seed would split the data otherwise in every run, which cannot be compared then. Leave it out.")
    return [_job(dict(zip(over, values, strict=True))) for values in product(*over.values())]


def _job(values: Mapping[str, str]) -> Job:
    words = {option: value for option, value in values.items() if option not in _SEEDS}
    seeds = {option: f"{option.replace('.', '-')}{value}" for option, value in values.items() if option in _SEEDS}
    own = {single: value for option, value in values.items() for single in _SEEDS.get(option, (option,))}
    return Job(_joined([*words.values(), *seeds.values()]), _joined([*words.values()]) or "all", own)


def _joined(words: Sequence[str]) -> str:
    """Return words as a file name."""
    return "-".join(re.sub(r"[^\w.+]+", "-", word).strip("-") for word in words)


def run_jobs(
    jobs: Sequence[Job], commands: Callable[[Job], Sequence[Sequence[str]]], folder: Path, *, processes: int | None = None
) -> dict[str, str]:
    """Run the commands of every job, one after the other; a job that fails does not stop the others.

    Args:
        jobs: The runs.
        commands: Returns the arguments of ``pyro-lvm`` for each command of a job.
        folder: Folder for the output of each job, ``NAME.log``.
        processes: How many jobs run at a time; by default, as many as there are cores. Each has one thread.

    Returns:
        The last line of the output of each job that has failed, by its name.
    """
    children = _Children()
    with ThreadPoolExecutor(processes or os.cpu_count()) as pool:
        futures: dict[Future[str | None], Job] = {pool.submit(children.run, commands(job), folder / f"{job.name}.log"): job for job in jobs}
        try:
            return _collected(futures)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            children.stop()
            raise


def _collected(futures: Mapping["Future[str | None]", Job]) -> dict[str, str]:
    failures = {}
    for number, future in enumerate(as_completed(futures), start=1):
        name, failure = futures[future].name, future.result()
        if failure is not None:
            failures[name] = failure
        print(f"{name}: {'done' if failure is None else f'failed: {failure}'} ({number} of {len(futures)})", flush=True)
    return failures


class _Children:
    """The processes of a sweep, which end with it."""

    def __init__(self) -> None:
        self.running: set[subprocess.Popen[bytes]] = set()
        self.lock, self.is_over = threading.Lock(), False

    def run(self, commands: Sequence[Sequence[str]], log: Path) -> str | None:
        """Run commands until one fails, and return the last line of its output."""
        environment = {"OMP_NUM_THREADS": "1"} | os.environ | {"PYRO_LVM_PARENT": str(os.getpid())}
        with log.open("wb") as output:
            for arguments in commands:
                with self.lock:
                    if self.is_over:
                        return "stopped"
                    child = subprocess.Popen(
                        [sys.executable, "-P", "-m", "inference.scripts", *arguments], stdout=output, stderr=output, env=environment
                    )
                    self.running.add(child)
                status = child.wait()
                self.running.discard(child)
                if status:
                    return _last_line(log) or f"ended with status {status}"
        return None

    def stop(self) -> None:
        """End all processes; they keep what they have done so far."""
        with self.lock:
            self.is_over = True
            for child in list(self.running):
                with suppress(OSError):
                    child.terminate()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
