"""Trains and compares all combinations of some options: ``pyro-lvm sweep --over model.prior standard vamp --over seed 0 1 2``."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from jsonargparse import Namespace

from inference.recipes.combinations import checked_recipes
from inference.recipes.options import Recipe, recipe_of
from inference.runs.ray_tasks import run_on_ray
from inference.runs.sweep import make_jobs, sweep
from inference.scripts.parsing import parse


def main(args: Namespace) -> None:
    """Train and score all combinations, several at a time, and compare them; runs that are already there are kept."""
    jobs = make_jobs(_values(args.over))
    parsed = {job.name: parse("sweep", "", [*args.words, *job.words]) for job in jobs}  # before any work
    recipes = checked_recipes({name: recipe_of(own) for name, own in parsed.items()})
    engine = partial(run_on_ray, num_gpus=int(args.device != "cpu")) if args.engine == "ray" else None
    chosen = {"processes": args.processes, "engine": engine, "device": args.device, "track": args.track}
    sweep(jobs, recipes, args.evaluate, Path(args.out), **chosen, baselines=args.baselines)


def _values(over: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for option, *some in over:
        if option in values:
            raise ValueError(f"--over {option} must be given once; got it twice. Give all its values together.")
        values[option.removeprefix("--")] = [
            value for part in some for value in ([part] if part.startswith("[") else part.split(",")) if value
        ]
    return values


def sweep_seeds(args: Namespace, recipe: Recipe, out: Path) -> None:
    """Train models with each prior and several seeds, several at a time, and compare the priors."""
    if args.expost or recipe.model.seed or recipe.fit.seed:
        raise ValueError("--seeds sets the seeds from 0 on, and priors are not fitted after training then. Leave out the others.")
    jobs = make_jobs({"model.prior": list(args.priors), "seed": [str(seed) for seed in range(args.seeds)]})
    recipes = {}
    for job in jobs:
        values = job.values
        model = replace(recipe.model, prior=values["model.prior"], seed=int(values["model.seed"]))
        recipes[job.name] = replace(recipe, model=model, fit=replace(recipe.fit, seed=int(values["fit.seed"])))
    sweep(jobs, checked_recipes(recipes), args.evaluate, out, device=args.device, track=args.track, baselines=args.baselines)
