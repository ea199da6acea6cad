"""Runs: a model with its options and data, fitted and saved in a folder."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
import math
import os
from pathlib import Path
import sys
from typing import Any
import warnings

import pandas as pd
import torch

from inference.checkpoint import device_of, load_checkpoint, num_parameters
from inference.data.fingerprint import FittedRows, training_id
from inference.data.load import Data
from inference.data.published.catalogue import DATASETS
from inference.files import named_errors, replacing_file, write_yaml
from inference.predictive.draws import has_means
from inference.recipes.build import build_pair, fit_pair
from inference.recipes.options import Recipe
from inference.recipes.stand_ins import facts_of, stand_in
from inference.recipes.trackers import tracking
from inference.recipes.user_code import CODE, UserFile, run_file
from inference.runs.reading import checksum, parse_yaml, sealed
from inference.scoring.importance import log_weights
from inference.svi.loop import FitResult
from inference.svi.state import CHECKPOINT
from pyro_lvm.scopes import belongings
from pyro_lvm.structure import known_row_parameters

CONFIG, SUMMARY, HISTORY = "config.yaml", "summary.yaml", "history.csv"
TABLE, PAGE = "comparison.csv", "report.html"
_MOST_LINES = 25  # about a screen, of a fit of any length


@dataclass(frozen=True)
class Run:
    """A model with its options and data.

    Attributes:
        recipe: All options.
        data: Its data.
        pair: The model; once fitted, with the weights of the best epoch, and possibly a prior fitted after training.
        files: The user's files, as they were run.
    """

    recipe: Recipe
    data: Data
    pair: Any
    files: Sequence[UserFile] = ()

    @cached_property
    def has_means(self) -> bool:
        """Whether p(x|z) has a mean that looks like a datum; a categorical distribution has none."""
        batch = self.data.batch("train")
        return has_means(self.pair, *(batch if known_row_parameters(self.pair) else (x[:2] for x in batch)))


def build_run(recipe: Recipe, data: Data, *, folder: Path | None = None) -> Run:
    """Build the model for loaded data; nothing is written.

    Args:
        recipe: The recipe.
        data: Its data.
        folder: A run's folder, whose copies of the user's files are taken instead of those that the recipe names.

    Raises:
        ValueError: If the recipe is invalid.
    """
    return Run(recipe, data, *build_pair(recipe, data, folder=None if folder is None else folder / CODE))


def load_weights(run: Run, folder: Path) -> None:
    """Load the best weights of a run into its model, which then knows its training rows again."""
    load_checkpoint(run.pair, folder / CHECKPOINT)
    belongings(run.pair).fitted = FittedRows.of(*run.data.batch("train"))


def fit_run(run: Run, folder: Path, *, resume: bool = False, device: str | None = None, track: str | None = None) -> FitResult:
    """Fit a run's model and write its folder: options, the best weights, the last state and the history so far, and finally a summary.

    With ``resume``, the fit goes on from the last state in the folder. Progress is shown as a bar in a terminal, and elsewhere, such as in
    a log, as at most some thirty lines. ``track`` names a program that shows the history too.
    """
    is_terminal, options, checkpoint = sys.stderr.isatty(), run.recipe.fit, folder / CHECKPOINT
    start = checkpoint if resume else None
    keep_files(run.files, folder)
    if run.recipe.pair is not None:
        _check_alone(run.files[0], folder)
    write_yaml(folder / CONFIG, asdict(run.recipe.kept()))
    with tracking(track, folder) as record:

        def keep(history: pd.DataFrame) -> None:
            _write(history, folder / HISTORY)
            record(history)
            if not is_terminal:
                _print_some(history.iloc[-1], options.epochs)

        result = fit_pair(
            run.pair, run.data, options, checkpoint=checkpoint, resume=start, on_epoch=keep, device=device, progress=is_terminal
        )
        record(result.history)
    with replacing_file(folder / HISTORY) as temporary:  # whole, even where no epoch was left
        _write(result.history, temporary)
    write_yaml(folder / SUMMARY, sealed(_summary(run, result) | _place(run.recipe, folder) | {"files": checksums(folder)}))
    return result


def _print_some(row: pd.Series, epochs: int) -> None:
    """Print a row of a history if it is the first, the last, or one of some that are evenly spaced."""
    if row.epoch in (1, epochs) or row.epoch % math.ceil(epochs / _MOST_LINES) == 0:
        losses = [f"{split} {row[f'{split}_loss']:.2f}" for split in ("train", "valid") if f"{split}_loss" in row]
        print(f"epoch {row.epoch:.0f}: {', '.join(losses)}", flush=True)


def _write(history: pd.DataFrame, path: Path) -> None:
    with named_errors(path), path.open("w", encoding="utf-8", newline="") as file:  # pandas would take ~ in a name for the home folder
        history.to_csv(file, index=False)


def _summary(run: Run, result: FitResult) -> dict[str, object]:
    return {
        "data": run.data.description,
        "data_id": training_id(run.data),
        "num_parameters": num_parameters(run.pair),
        "batch_size": len(run.data.train) if math.isnan(result.best_loss) else min(run.recipe.fit.batch_size, len(run.data.train)),
        "best_epoch": result.best_epoch,
        "best_valid_loss": result.best_loss,
        "stopped_early": result.stopped_early,
        "seconds": round(float(result.history["seconds"].sum()), 1),
        "torch": str(torch.__version__),
        "probe": None if run.recipe.pair is None else probe(run),
        "without_data": _without_data(run),
    }


def _without_data(run: Run) -> dict[str, object] | None:
    """What is needed to load a run where its data are not, and a probe on rows that stand for these; None where there is none."""
    facts = facts_of(run.data)
    if facts is None:
        return None
    other = replace(run, data=stand_in(facts))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = probe(other)
    except Exception:  # a program may raise any error at rows that are none of its data
        return None
    return None if found is None else {"data": facts, "probe": found}


def probe(run: Run) -> float | None:
    """The log weight of one draw for each of a few data, by which a pair is recognized when it is built again; None if there is none."""
    try:
        few = (x[:4].to(device_of(run.pair)) for x in run.data.batch("train"))
        return float(log_weights(run.pair, *few, num_particles=1, seed=0).double().sum())
    except ValueError:
        return None


def _place(recipe: Recipe, folder: Path) -> dict[str, object]:
    """Where the data are, if they are in a file, and where from the run; the path among the options may be relative."""
    source = recipe.data.source
    if source in DATASETS:
        return {}
    place = Path(source).expanduser().resolve()
    return {"data_file": str(place), "data_from_run": os.path.relpath(place, folder.resolve())}


def checksums(folder: Path) -> dict[str, str]:
    """Checksums of the options and the history in a run's folder; of the options, all but the path of the data, which may move."""
    options = parse_yaml((folder / CONFIG).read_text())
    data = {name: value for name, value in options.get("data", {}).items() if name != "source"}
    files = sorted(path for path in (folder / CODE).rglob("*.py"))
    code = {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}
    return {CONFIG: checksum(options | {"data": data}), HISTORY: checksum((folder / HISTORY).read_text())} | code


def keep_files(files: Sequence[UserFile], folder: Path) -> None:
    """Write the user's files, as they were run, and the modules beside them that they import, into a run's folder."""
    for file in files:
        for name, source in file.sources.items():
            path = folder / CODE / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing_file(path) as temporary:
                temporary.write_bytes(source)


def _check_alone(file: UserFile, folder: Path) -> None:
    """Check, before a fit that takes minutes, that the copy of a pair's file runs without what lay beside the original."""
    try:
        run_file(folder / CODE / file.path.name)
    except ValueError as error:
        raise ValueError(
            f"the copy that a run keeps of {file.path.name} must run alone; it fails: {error}. Take in what it needs."
        ) from error
