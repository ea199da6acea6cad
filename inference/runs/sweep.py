"""Sweeps: runs of all combinations of some options, each trained and scored by processes of its own, several at a time."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
import os
from pathlib import Path
import re
import subprocess
import sys
import threading
from typing import Protocol

import pandas as pd

from inference.comparison.recipes import compare_recipes
from inference.comparison.table import Comparison
from inference.comparison.verdict import against_yardsticks
from inference.files import replacing_file, write_yaml
from inference.files.manifest import all_files
from inference.recipes.options import EvaluateOptions, Recipe
from inference.runs.fits import compare_beside, fit_cautions, stand_beside
from inference.runs.folders import budget, load_runs, parse_recipe
from inference.runs.kept import ROW_SOFT, evaluation_path
from inference.runs.progress import SWEEP, last_line, planned_runs
from inference.runs.resuming import begun, check_same, is_done
from inference.runs.run import TABLE
from inference.runs.scores import score_runs
from inference.scoring.evaluation import Evaluation
from inference.yardsticks.fitting import Asked, Beside

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
    over = {option: [_plain(value) if option in _SEEDS else value for value in values] for option, values in over.items()}
    for option, values in over.items():
        if option not in _SEEDS and option.partition(".")[0] not in ("data", "model", "fit", "pair"):
            raise ValueError(f"--over must name options of data, model, fit or pair, or seed; got {option!r}. Give it to all runs alike.")
        if not values or len(set(values)) < len(values):
            raise ValueError(f"--over {option} must have different values; got {' '.join(values) or 'none'}. Give each once.")
        if option == "data.seed":
            raise ValueError("--over data.seed would split the data otherwise in every run, which cannot be compared then. Leave it out.")
    jobs = [_job(dict(zip(over, values, strict=True))) for values in product(*over.values())]
    if twice := [job.name for number, job in enumerate(jobs) if job.name in [other.name for other in jobs[:number]]]:
        raise ValueError(f"--over must give every run its own name; got {twice[0]} twice. Use values that differ in letters or digits.")
    return jobs


def _plain(seed: str) -> str:
    if not seed.isdecimal():
        raise ValueError(f"--over seed must have whole numbers from 0 on; got {seed!r}. Correct it.")
    return str(int(seed))


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
    return run_with(Children(), jobs, commands, folder, processes or os.cpu_count())


def run_with(
    runner: "Runner", jobs: Sequence[Job], commands: Callable[[Job], Sequence[Sequence[str]]], folder: Path, most: int | None
) -> dict[str, str]:
    """Run jobs as :func:`run_jobs` does, at most so many at a time, by what runs the commands of one; it is stopped with the sweep."""
    with ThreadPoolExecutor(most) as pool:
        futures: dict[Future[str | None], Job] = {pool.submit(runner.run, commands(job), folder / f"{job.name}.log"): job for job in jobs}
        try:
            return _collected(futures)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            runner.stop()
            raise


def _collected(futures: Mapping["Future[str | None]", Job]) -> dict[str, str]:
    failures = {}
    for number, future in enumerate(as_completed(futures), start=1):
        name, failure = futures[future].name, future.result()
        if failure is not None:
            failures[name] = failure
        print(f"{name}: {'done' if failure is None else f'failed: {failure}'} ({number} of {len(futures)})", flush=True)
    return failures


class Runner(Protocol):
    """What runs the commands of jobs."""

    def run(self, commands: Sequence[Sequence[str]], log: Path) -> str | None:
        """Run commands until one fails, and return the last line of its output."""

    def stop(self) -> None:
        """End all that run."""


class Children:
    """Processes of this machine, which end with this one."""

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
                    return last_line(log) or f"ended with status {status}"
        return None

    def stop(self) -> None:
        """End all processes; they keep what they have done so far."""
        with self.lock:
            self.is_over = True
            for child in list(self.running):
                with suppress(OSError):
                    child.terminate()


def sweep(
    jobs: Sequence[Job],
    recipes: Mapping[str, Recipe],
    scoring: EvaluateOptions,
    out: Path,
    *,
    processes: int | None = None,
    engine: Callable[..., dict[str, str]] | None = None,
    device: str = "cpu",
    track: str | None = None,
    baselines: Asked = False,
) -> None:
    """Run a sweep, or what is missing of it, print its comparison, and write it to the folder.

    Runs of the folder that are not among these jobs are kept, and named as left out of the comparison.

    Args:
        jobs: The runs.
        recipes: Their options, by name.
        scoring: How to score.
        out: Folder of the runs.
        processes: How many run at a time.
        engine: What runs them; by default, :func:`run_jobs`.
        device: Device to fit and score on.
        track: Name of a program that shows the histories too.
        baselines: Yardsticks that stand beside the models; see :func:`~inference.yardsticks.fitting.score_beside`.

    Raises:
        ValueError: If the folder holds something else, or runs have failed; the others are compared nevertheless.
    """
    _check_folder(out)
    planned = planned_runs(out)
    for job in jobs:
        if (earlier := begun(out / job.name)) is not None:
            check_same(recipes[job.name], parse_recipe(earlier), earlier)
    out.mkdir(parents=True, exist_ok=True)
    write_yaml(out / SWEEP, planned | {job.name: job.values for job in jobs})
    for job in jobs:
        write_yaml(out / f"{job.name}.yaml", asdict(recipes[job.name]))
    run, named = engine or run_jobs, (out, scoring, device, track)
    failures = run(jobs, lambda job: _commands(job, recipes[job.name], *named), out, processes=processes)
    done = [job for job in jobs if job.name not in failures]
    if done:
        _report(done, scoring, out, device, baselines)
    if others := [name for name in planned if name not in recipes]:
        print(f"Kept, but left out of this comparison, as not asked for: {', '.join(others)}.", flush=True)
    if failures:
        names = ", ".join(failures)
        raise ValueError(f"{len(failures)} of {len(jobs)} runs have failed: {names}. See {out}/NAME.log; the others are kept.")


def _check_folder(out: Path) -> None:
    if out.is_dir() and any(all_files(out)) and not (out / SWEEP).is_file():
        raise ValueError(f"{out} must be a new folder or that of a sweep; it holds no {SWEEP}. Choose another --out.")


def _commands(job: Job, recipe: Recipe, out: Path, scoring: EvaluateOptions, device: str, track: str | None) -> list[list[str]]:
    """Return what is still to be done for a run; a score that is no longer right is made anew by the comparison."""
    run, given = out / job.name, {name: value for name, value in asdict(scoring).items() if value is not None}
    options = [f"--{name}={value}" for name, value in given.items()]
    train = ["train", "--config", str(out / f"{job.name}.yaml"), "--out", str(run), "--device", device, "--resume"]
    train += [] if track is None else ["--track", track]
    score = ["evaluate", str(run), "--device", device, "--if_missing", *options]
    return [*([] if is_done(recipe, run) else [train]), *([] if evaluation_path(run, scoring).exists() else [score])]


def _report(jobs: Sequence[Job], scoring: EvaluateOptions, out: Path, device: str, baselines: Asked) -> None:
    folders = {job.name: out / job.name for job in jobs}
    runs, scores = score_runs(load_runs(folders), folders, scoring, device=device)
    table = _compared(jobs, scores, stand_beside(runs, scores, scoring.split, baselines))
    used = budget(folders, {name: scores[name] for name in folders})
    print("", table, used.to_string(), sep="\n\n", flush=True)
    for caution in fit_cautions(folders):
        print(caution, flush=True)
    with replacing_file(out / TABLE) as temporary:
        pd.DataFrame(table).to_csv(temporary)
    with replacing_file(out / "comparison.md") as temporary:
        temporary.write_text(f"{table.to_markdown()}\n", encoding="utf-8")
    print(f"\nWrote {out}.")


def _compared(jobs: Sequence[Job], scores: Mapping[str, Evaluation], beside: Beside) -> Comparison:
    """Compare recipes if there is more than one fit of any, and fits otherwise."""
    groups: dict[str, list[str]] = {}
    for job in jobs:
        for suffix in ("", ROW_SOFT):
            if job.name + suffix in scores:
                groups.setdefault(job.group + suffix, []).append(job.name + suffix)
    if all(len(fits) == 1 for fits in groups.values()):
        return compare_beside(scores, beside)
    table = compare_recipes({name: [scores[fit] for fit in fits] for name, fits in groups.items()})
    table.attrs["notes"] += [*against_yardsticks({**scores, **beside.scores}, groups, beside.sizes), *beside.notes]
    return table
