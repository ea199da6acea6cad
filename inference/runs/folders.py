"""Reading finished runs from their folders."""

from collections.abc import Mapping
from pathlib import Path

from jsonargparse import ArgumentParser
import pandas as pd
import yaml

from inference.checkpoint import load_checkpoint
from inference.data.fingerprint import training_id
from inference.data.load import Data
from inference.files.folders import recover
from inference.recipes.build import load
from inference.recipes.options import Recipe
from inference.runs.run import CHECKPOINT, CONFIG, HISTORY, SUMMARY, Run, build_run
from inference.scoring.evaluation import Evaluation


def load_runs(folders: Mapping[str, Path]) -> dict[str, Run]:
    """Load fitted models by name, as :func:`~inference.runs.run.fit_run` saved them; runs of the same data share one copy of the data.

    Raises:
        FileNotFoundError: If a folder holds no finished run.
        ValueError: If the data of a run have changed since, or a file is damaged.
    """
    for folder in folders.values():
        recover(folder)
    recipes = {name: read_recipe(folder) for name, folder in folders.items()}
    data = {options: load(options) for options in {recipe.data for recipe in recipes.values()}}
    return {name: _fitted(folders[name], recipe, data[recipe.data]) for name, recipe in recipes.items()}


def _fitted(folder: Path, recipe: Recipe, data: Data) -> Run:
    trained_on, found = yaml.safe_load((folder / SUMMARY).read_text())["data_id"], training_id(data)
    if found != trained_on:
        raise ValueError(
            f"the data of {folder} must be those it was trained on, {trained_on}; {recipe.data.source} now "
            f"yields {found}. Restore the file, or train again."
        )
    run = build_run(recipe, data)
    load_checkpoint(run.vae, folder / CHECKPOINT)
    return run


def read_recipe(folder: Path) -> Recipe:
    """Read the recipe of a run.

    Raises:
        FileNotFoundError: If the folder holds no finished run.
    """
    for name in (CONFIG, CHECKPOINT, HISTORY, SUMMARY):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} must hold a finished run; it has no {name}. Train one: pyro-lvm train --out {folder}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    values = parser.instantiate(parser.parse_path(folder / CONFIG))
    return Recipe(values.data, values.model, values.fit)


def read_history(folder: Path) -> pd.DataFrame:
    """Read the history of a run's fit, one row per epoch."""
    return pd.read_csv(folder / HISTORY)


def budget(folders: Mapping[str, Path], scores: Mapping[str, Evaluation]) -> pd.DataFrame:
    """The training budget of each run, how much of it was used, and how the run was scored, one row per run."""
    rows = {name: _budget(folder, scores[name]) for name, folder in folders.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def _budget(folder: Path, score: Evaluation) -> dict[str, object]:
    recipe, summary = read_recipe(folder), yaml.safe_load((folder / SUMMARY).read_text())
    seeds = [part.seed for part in (recipe.data, recipe.model, recipe.fit, score)]
    return {
        "parameters": summary["num_parameters"],
        "best epoch": summary["best_epoch"],
        "epochs": f"{len(read_history(folder))} of {recipe.fit.epochs}",
        "batch": recipe.fit.batch_size,
        "rate": recipe.fit.learning_rate,
        "seconds": round(summary["seconds"]),
        "seeds (data, model, fit, score)": ", ".join(map(str, seeds)),
        "p(x) is a": score.measure,
    }
