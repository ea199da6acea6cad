"""Run folders: what a fitted model was made from and its weights, written whole or not at all."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
import json
import os
from pathlib import Path
import shutil
import sys

from jsonargparse import ArgumentParser
import pandas as pd
import torch
from torch import Tensor
import yaml

from inference.checkpoint import load_checkpoint
from inference.data import Data
from inference.evaluation import Evaluation
from inference.importance import data_id
from inference.options import Recipe
from inference.recipes import AnyVAE, build_vae, fit_vae, load, seen_by_model
from inference.svi import FitResult
from pyro_lvm.models import TwoStageVAE

CONFIG, SUMMARY, CHECKPOINT, HISTORY = "config.yaml", "summary.yaml", "checkpoint.safetensors", "history.csv"
TABLE, PAGE = "comparison.csv", "report.html"


@dataclass(frozen=True)
class Run:
    """A model and what it is made from.

    Attributes:
        recipe: All options.
        data: Its data.
        vae: The model; once it is fitted, with the weights of the best epoch, or under a prior fitted after training.
    """

    recipe: Recipe
    data: Data
    vae: AnyVAE | TwoStageVAE

    @property
    def has_means(self) -> bool:
        """Whether p(x|z) has a mean that looks like a datum; one of categories has none."""
        return self.recipe.model.likelihood != "categorical"


def build_run(recipe: Recipe, data: Data) -> Run:
    """Builds the model for data already loaded; writes nothing.

    Raises:
        ValueError: If the recipe is wrong.
    """
    return Run(recipe, data, build_vae(recipe.model, seen_by_model(data, seed=recipe.model.seed)))


def fit_run(run: Run, folder: Path, *, device: str | None = None) -> FitResult:
    """Fits a run's model and fills its folder: options, best weights and history so far, and at last a summary.

    Progress is a bar in a terminal; elsewhere, as in a log, every epoch is a line.
    """
    is_terminal = sys.stderr.isatty()

    def keep(history: pd.DataFrame) -> None:
        history.to_csv(folder / HISTORY, index=False)
        if not is_terminal:
            epoch = history.iloc[-1]
            print(f"epoch {epoch.epoch:.0f}: train {epoch.train_loss:.2f}, valid {epoch.valid_loss:.2f}", flush=True)

    write_yaml(folder / CONFIG, asdict(run.recipe))
    options, checkpoint = run.recipe.fit, folder / CHECKPOINT
    result = fit_vae(
        run.vae, run.data, options, checkpoint=checkpoint, on_epoch=keep, device=device, progress=is_terminal
    )
    write_yaml(folder / SUMMARY, _summary(run, result))
    return result


def load_runs(folders: Mapping[str, Path]) -> dict[str, Run]:
    """Fitted models by name, as :func:`fit_run` left them; runs of the same data share one copy.

    Raises:
        FileNotFoundError: If a folder holds no finished run.
        ValueError: If the data of a run have changed since, or a file is damaged.
    """
    recipes = {name: read_recipe(folder) for name, folder in folders.items()}
    data = {options: load(options) for options in {recipe.data for recipe in recipes.values()}}
    return {name: _fitted(folders[name], recipe, data[recipe.data]) for name, recipe in recipes.items()}


def _fitted(folder: Path, recipe: Recipe, data: Data) -> Run:
    trained_on, found = yaml.safe_load((folder / SUMMARY).read_text())["data_id"], data_id(data.train)
    if found != trained_on:
        raise ValueError(
            f"the data of {folder} must be those it was trained on, {trained_on}; {recipe.data.source} now "
            f"gives {found}. Restore the file, or train again."
        )
    run = build_run(recipe, data)
    load_checkpoint(run.vae, folder / CHECKPOINT)
    return run


def read_recipe(folder: Path) -> Recipe:
    """What a run was made from.

    Raises:
        FileNotFoundError: If the folder holds no finished run.
    """
    for name in (CONFIG, CHECKPOINT, HISTORY, SUMMARY):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} must hold a finished run; it has no {name}. Make it: pyro-lvm train --out {folder}"
            )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    values = parser.instantiate(parser.parse_path(folder / CONFIG))
    return Recipe(values.data, values.model, values.fit)


def read_history(folder: Path) -> pd.DataFrame:
    """The history of a run's fit, one row for each epoch."""
    return pd.read_csv(folder / HISTORY)


def budget(folders: Mapping[str, Path], scores: Mapping[str, Evaluation]) -> pd.DataFrame:
    """What each run was given and used, and how it was scored, one row for each run."""
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


def random_rows(x: Tensor, count: int, *, seed: int) -> Tensor:
    """At most ``count`` random rows of ``x``; the first ones would be of one class where data are sorted."""
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:count]]


def check_replaceable(folder: Path, *, overwrite: bool, marker: str) -> None:
    """Refuses a folder that must not be replaced.

    Args:
        folder: Where a new folder is to go.
        overwrite: Whether an earlier one may be replaced.
        marker: A file that an earlier one must hold to be replaced.

    Raises:
        ValueError: If there is an earlier one that is in the way.
    """
    if folder.is_file():
        raise ValueError(f"{folder} must be a folder; got a file. Choose another --out.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise ValueError(f"{folder} exists already. Choose another --out, or replace it with --overwrite.")
    if not (folder / marker).is_file():
        raise ValueError(f"{folder} must hold {marker} to be replaced, and does not. Choose another --out.")


@contextmanager
def replacing_folder(folder: Path, *, overwrite: bool, marker: str) -> Iterator[Path]:
    """A new folder ``folder.partial`` that takes the place of ``folder`` once it is complete.

    It stays as it is if the work is interrupted, and goes if that happens before there is a checkpoint in it.

    Raises:
        ValueError: As :func:`check_replaceable`.
    """
    check_replaceable(folder, overwrite=overwrite, marker=marker)
    partial = _new_folder(folder)
    try:
        yield partial
    except BaseException as error:
        if any(partial.rglob(CHECKPOINT)):
            error.add_note(f"What was done so far stays in {partial}.")
        else:
            shutil.rmtree(partial)
        raise
    check_replaceable(folder, overwrite=overwrite, marker=marker)
    _swap(partial, folder)


def _new_folder(folder: Path) -> Path:
    """The first of ``folder.partial``, ``folder.partial2``, ... that does not exist, made."""
    for number in count(1):
        partial = folder.with_name(f"{folder.name}.partial{number if number > 1 else ''}")
        try:
            partial.mkdir(parents=True)
            return partial
        except FileExistsError:
            continue
        except OSError as error:
            raise OSError(f"{folder} cannot be written: {error.strerror}. Choose another --out.") from error


def _swap(new: Path, folder: Path) -> None:
    if not folder.exists():
        os.replace(new, folder)
        return
    old = folder.with_name(f"{new.name}.old")
    os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old)


def _summary(run: Run, result: FitResult) -> dict[str, object]:
    best = result.history.set_index("epoch").loc[result.best_epoch]
    return {
        "data": run.data.description,
        "data_id": data_id(run.data.train),
        "num_parameters": sum(p.numel() for p in run.vae.parameters()),
        "best_epoch": result.best_epoch,
        "best_valid_loss": float(best["valid_loss"]),
        "stopped_early": result.stopped_early,
        "seconds": round(float(result.history["seconds"].sum()), 1),
        "torch": str(torch.__version__),
    }


def write_yaml(path: Path, values: dict[str, object]) -> None:
    """Writes plain values to a file."""
    plain = json.loads(json.dumps(values))  # numbers that only PositiveInt and the like wrap
    path.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
