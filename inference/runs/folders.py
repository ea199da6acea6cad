"""Reading finished runs from their folders."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
import math
import os
from pathlib import Path
from shlex import quote
from typing import Any

from jsonargparse import ArgumentParser
import pandas as pd

from inference.checkpoint import load_checkpoint
from inference.data.columns import some
from inference.data.fingerprint import training_id
from inference.data.load import Data
from inference.data.published.catalogue import DATASETS
from inference.data.shards import is_there
from inference.files.claims import PARTIAL, dead_partials, read_claim
from inference.files.folders import recover
from inference.recipes.build import load
from inference.recipes.options import DataOptions, Recipe, add_recipe
from inference.recipes.own_pairs import add_options, own_files
from inference.recipes.stand_ins import stand_in
from inference.recipes.user_code import CODE
from inference.runs.reading import parse_yaml, read_sealed, read_text, reading
from inference.runs.run import CHECKPOINT, CONFIG, HISTORY, SUMMARY, Run, build_run, checksums, load_weights, probe
from inference.scoring.evaluation import Evaluation

_SUMMARY: dict[str, type | tuple[type, ...]] = {"data_id": str, "num_parameters": int, "best_epoch": int, "seconds": (int, float)}
_RESTORE = "Restore the file, or train again"


def load_runs(folders: Mapping[str, Path]) -> dict[str, Run]:
    """Load fitted models by name, as :func:`~inference.runs.run.fit_run` saved them; runs of the same data share one copy of the data.

    Raises:
        FileNotFoundError: If a folder holds no finished run, or the file of its data is not found.
        ValueError: If the data of a run have changed since, or a file is damaged; the error names it.
    """
    for folder in folders.values():
        recover(folder)
    recipes = {name: read_recipe(folder) for name, folder in folders.items()}
    places = {name: _located(recipe.data, folders[name]) for name, recipe in recipes.items()}
    data = {options: load(options) for options in set(places.values())}
    return {name: _fitted(folders[name], recipe, data[places[name]]) for name, recipe in recipes.items()}


class MissingDataError(FileNotFoundError):
    """The file of a run's data is not found."""


def load_without_data(folder: Path) -> tuple[Run, str]:
    """Load a run as :func:`load_runs` does or, where the file of its data is not found, with a few rows that stand for them.

    Returns:
        The run, and in a sentence which file is missing; empty if none is.

    Raises:
        FileNotFoundError: If the folder holds no finished run, or the data are not found and are needed to build its pair.
        ValueError: As :func:`load_runs`.
    """
    try:
        return load_runs({str(folder): folder})[str(folder)], ""
    except MissingDataError as error:
        recipe, known = read_recipe(folder), read_summary(folder).get("without_data")
        if known is None:
            raise
        try:
            run = build_run(recipe, stand_in(known["data"]), folder=folder)
            load_checkpoint(run.pair, folder / CHECKPOINT)
            _check_probe(run, folder, known["probe"])
        except ValueError as reason:
            raise FileNotFoundError(f"{error} Without them, the pair cannot be built: {reason}") from reason
        return run, str(error)


def data_files(folder: Path) -> list[str]:
    """The files of a run's data: as its options name them, and where they were; no command replaces them."""
    recover(folder)
    sources: list[str | None] = [read_recipe(folder).data.source, read_summary(folder).get("data_file")]
    return [source for source in sources if source is not None and source not in DATASETS]


def _located(options: DataOptions, folder: Path) -> DataOptions:
    """The options of a run's data, whose file is looked for in the current directory, where it lay beside the run, and where it was."""
    summary = read_summary(folder)
    place, beside = summary.get("data_file"), summary.get("data_from_run")
    if options.source in DATASETS or is_there(options.source) or place is None:
        return options
    places = [*([os.path.normpath(folder.resolve() / beside)] if beside is not None else []), place]
    found = next(filter(is_there, places), None)
    if found is None:
        raise MissingDataError(
            f"the data of {folder} must be in {options.source} of the current directory, or in {' or '.join(dict.fromkeys(places))}, where "
            "they were; they are in none of these. Restore the file, or go to the directory where it is."
        )
    return replace(options, source=found)


def check_unchanged_data(folder: Path, source: str, data: Data) -> None:
    """Refuse data that a finished run was not trained on.

    Raises:
        ValueError: If they have changed since.
    """
    trained_on, found = read_summary(folder)["data_id"], training_id(data)
    if found != trained_on:
        raise ValueError(
            f"the data of {folder} must be those it was trained on, {trained_on}; {source} now yields {found}. Restore the file, or train "
            "again."
        )


def _fitted(folder: Path, recipe: Recipe, data: Data) -> Run:
    check_unchanged_data(folder, recipe.data.source, data)
    with reading(folder / CONFIG, _RESTORE) if recipe.pair is None else nullcontext():  # errors of the user's file name its line
        run = build_run(recipe, data, folder=folder)
    load_weights(run, folder)
    _check_probe(run, folder, read_summary(folder).get("probe"))
    return run


def _check_probe(run: Run, folder: Path, trained: float | None) -> None:
    now = None if trained is None else probe(run)
    if trained is not None and now is not None and not math.isclose(trained, now, rel_tol=1e-3, abs_tol=1e-3):
        raise ValueError(
            f"the pair that {run.recipe.name} makes is not the one that was trained in {folder}: its log weights of a few data "
            f"are {now:.6g}, and were {trained:.6g}. It must follow from its options, the data and the seed alone."
        )


def read_recipe(folder: Path) -> Recipe:
    """Read the recipe of a run.

    Raises:
        FileNotFoundError: If the folder holds no finished run.
        ValueError: If a file is damaged, or its format is newer; the error names it.
    """
    for name in (CONFIG, CHECKPOINT, HISTORY, SUMMARY):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} must hold a finished run; {_instead(folder, name)}")
    _check_unchanged(folder, CONFIG, *_own_code(folder))  # before any of it is run
    return parse_recipe(folder)


def _instead(folder: Path, missing: str) -> str:
    """What a folder that holds no finished run holds, and what to do."""
    runs = [path.parent for path in sorted(folder.glob(f"*/{SUMMARY}")) if (path.parent / CONFIG).is_file()]
    if runs and missing == CONFIG:
        holds = f"{len(runs)} run{'s' * (len(runs) > 1)}, {some([run.name for run in runs])}"
        return f"it holds {holds}. Name one of these: {quote(str(runs[0]))}"
    begun = folder if PARTIAL.fullmatch(folder.name) else next(reversed(dead_partials(folder)), folder)
    if (claim := read_claim(begun)) is not None and claim.command == "train":
        return f"{begun} is unfinished. Go on with it: pyro-lvm train --resume --out {quote(str(folder.with_name(claim.name)))}"
    return f"it has no {missing}. Train one: pyro-lvm train --out {folder}"


def _own_code(folder: Path) -> list[str]:
    """Return the files of the user's that a run has written, after checking that there are no others."""
    kept = read_summary(folder).get("files", {})
    for path in sorted((folder / CODE).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or (path.is_file() and path.suffix == ".py" and name not in kept):
            raise ValueError(f"{path} must be a file that the run has written; it is not. Remove it, or train again.")
    return [name for name in kept if name.startswith(f"{CODE}/")]


def parse_recipe(folder: Path) -> Recipe:
    """Read the options of a run, be it finished or not.

    Raises:
        OSError: If there are none.
        ValueError: If the file is damaged, or its format is newer.
    """
    with reading(folder / CONFIG, _RESTORE):
        text = read_text(folder / CONFIG)
        own_files(None, tuple(parse_yaml(text).get("plugin") or ()), folder / CODE)  # which register parts
        parser = ArgumentParser(exit_on_error=False)
        add_recipe(parser)
        pair = parse_yaml(text).get("pair")
        if pair is None:
            parser.add_argument("--pair", type=dict | None)
        else:
            add_options(parser, str(folder / CODE / pair["source"]))
        values = parser.instantiate(parser.parse_string(text))
    own = None if values.pair is None else values.pair.as_dict()
    return Recipe(values.data, values.model, values.fit, own, tuple(values.plugin), values.code)


def read_summary(folder: Path) -> dict[str, Any]:
    """Read the summary of a run's fit, by name.

    Raises:
        OSError: If there is none.
        ValueError: If it is damaged, or its format is newer.
    """
    return read_sealed(folder / SUMMARY, _SUMMARY, _RESTORE)


def read_history(folder: Path) -> pd.DataFrame:
    """Read the history of a run's fit, one row per epoch.

    Raises:
        OSError: If there is none.
        ValueError: If it is damaged.
    """
    _check_unchanged(folder, HISTORY)
    with reading(folder / HISTORY, _RESTORE):
        history = pd.read_csv(folder / HISTORY)
        are_numbers = history.empty or all(dtype.kind in "if" for dtype in history.dtypes)  # a fit may have stopped in its first epoch
        if not {"epoch", "train_loss"} <= set(history) or not are_numbers:
            raise ValueError(f"it must hold epochs and losses, all numbers; got {dict(history.dtypes)}")
    return history


def _check_unchanged(folder: Path, *names: str) -> None:
    """Check files against the checksums in the summary, which earlier versions did not write."""
    kept = read_summary(folder).get("files")
    if kept is None:
        return
    with reading(folder / names[0], _RESTORE):
        now = checksums(folder)
    for name in names:
        with reading(folder / name, _RESTORE):
            if kept[name] != now.get(name):
                raise ValueError("it is not as the run wrote it")


def budget(folders: Mapping[str, Path], scores: Mapping[str, Evaluation]) -> pd.DataFrame:
    """The training budget of each run, how much of it was used, and how the run was scored, one row per run."""
    rows = {name: _budget(folder, scores[name]) for name, folder in folders.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def _budget(folder: Path, score: Evaluation) -> dict[str, object]:
    recipe, summary = read_recipe(folder), read_summary(folder)
    seeds = [part.seed for part in (recipe.data, recipe.model, recipe.fit, score)]
    return {
        "parameters": summary["num_parameters"],
        "best epoch": summary["best_epoch"],
        "epochs": f"{len(read_history(folder))} of {recipe.fit.epochs}",
        "batch": summary.get("batch_size", recipe.fit.batch_size),
        "rate": recipe.fit.learning_rate,
        "seconds": round(summary["seconds"]),
        "seeds (data, model, fit, score)": ", ".join(map(str, seeds)),
        "p(x) is a": score.measure,
    }
