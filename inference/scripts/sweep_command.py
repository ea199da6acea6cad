"""Trains and compares all combinations of some options: ``pyro-lvm sweep --over model.prior standard vamp --over seed 0 1 2``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from jsonargparse import Namespace
import pandas as pd

from inference.comparison.recipes import compare_recipes
from inference.comparison.table import Comparison, compare
from inference.files import replacing_file, write_yaml
from inference.recipes.combinations import check_parts
from inference.recipes.options import EvaluateOptions, Recipe
from inference.runs.folders import budget, load_runs
from inference.runs.kept import evaluation_path
from inference.runs.resuming import is_done
from inference.runs.scores import ROW_SOFT, score_runs
from inference.runs.sweep import Job, make_jobs, run_jobs
from inference.scoring.evaluation import Evaluation
from inference.scripts.parsing import parse

SWEEP, TABLE = "sweep.yaml", "comparison.csv"


def main(args: Namespace) -> None:
    """Train and score all combinations, several at a time, and compare them; runs that are already there are kept."""
    jobs = make_jobs(_values(args.over))
    parsed = {job.name: parse("sweep", "", [*args.words, *job.words]) for job in jobs}  # before any work
    recipes = {name: Recipe(own.data, own.model, own.fit) for name, own in parsed.items()}
    for recipe in recipes.values():
        check_parts(recipe.model)
    sweep(jobs, recipes, args.evaluate, Path(args.out), processes=args.processes, device=args.device)


def _values(over: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for option, *some in over:
        if option in values:
            raise ValueError(f"--over {option} must be given once; got it twice. Give all its values together.")
        values[option.removeprefix("--")] = [value for part in some for value in part.split(",") if value]
    return values


def sweep(
    jobs: Sequence[Job],
    recipes: Mapping[str, Recipe],
    scoring: EvaluateOptions,
    out: Path,
    *,
    processes: int | None = None,
    device: str = "cpu",
) -> None:
    """Run a sweep, or what is missing of it, print its comparison, and write it to the folder.

    Raises:
        ValueError: If the folder holds something else, or runs have failed; the others are compared nevertheless.
    """
    _check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    write_yaml(out / SWEEP, {job.name: job.values for job in jobs})
    for job in jobs:
        write_yaml(out / f"{job.name}.yaml", asdict(recipes[job.name]))
    failures = run_jobs(jobs, lambda job: _commands(job, recipes[job.name], out, scoring, device), out, processes=processes)
    done = [job for job in jobs if job.name not in failures]
    if done:
        _report(done, scoring, out, device)
    if failures:
        names = ", ".join(failures)
        raise ValueError(f"{len(failures)} of {len(jobs)} runs have failed: {names}. See {out}/NAME.log; the others are kept.")


def _check_folder(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / SWEEP).is_file():
        raise ValueError(f"{out} must be a new folder or that of a sweep; it holds no {SWEEP}. Choose another --out.")


def _commands(job: Job, recipe: Recipe, out: Path, scoring: EvaluateOptions, device: str) -> list[list[str]]:
    """Return what is still to be done for a run; a score that is no longer right is made anew by the comparison."""
    run, given = out / job.name, {name: value for name, value in asdict(scoring).items() if value is not None}
    options = [f"--{name}={value}" for name, value in given.items()]
    train = ["train", "--config", str(out / f"{job.name}.yaml"), "--out", str(run), "--device", device, "--resume"]
    score = ["evaluate", str(run), "--device", device, "--if_missing", *options]
    return [*([] if is_done(recipe, run) else [train]), *([] if evaluation_path(run, scoring).exists() else [score])]


def _report(jobs: Sequence[Job], scoring: EvaluateOptions, out: Path, device: str) -> None:
    folders = {job.name: out / job.name for job in jobs}
    _, scores = score_runs(load_runs(folders), folders, scoring, device=device)
    table = _compared(jobs, scores)
    used = budget(folders, {name: scores[name] for name in folders})
    print("", table, used.to_string(), sep="\n\n", flush=True)
    with replacing_file(out / TABLE) as temporary:
        pd.DataFrame(table).to_csv(temporary)
    with replacing_file(out / "comparison.md") as temporary:
        temporary.write_text(f"{table.to_markdown()}\n", encoding="utf-8")
    print(f"\nWrote {out}.")


def _compared(jobs: Sequence[Job], scores: Mapping[str, Evaluation]) -> Comparison:
    """Compare recipes if there is more than one fit of any, and fits otherwise."""
    groups: dict[str, list[Evaluation]] = {}
    for job in jobs:
        for suffix in ("", ROW_SOFT):
            if job.name + suffix in scores:
                groups.setdefault(job.group + suffix, []).append(scores[job.name + suffix])
    return compare_recipes(groups) if any(len(fits) > 1 for fits in groups.values()) else compare(scores)
