"""Runs: a model with its options and data, fitted and saved in a folder."""

from dataclasses import asdict, dataclass
from pathlib import Path
import sys

import pandas as pd
import torch

from inference.data.datasets import PUBLISHED
from inference.data.fingerprint import training_id
from inference.data.load import Data
from inference.files import named_errors, replacing_file, write_yaml
from inference.recipes.build import build_vae, fit_vae, seen_by_model
from inference.recipes.options import Recipe
from inference.recipes.structures import AnyVAE
from inference.runs.reading import checksum, parse_yaml, sealed
from inference.svi.loop import FitResult
from inference.svi.state import CHECKPOINT

CONFIG, SUMMARY, HISTORY = "config.yaml", "summary.yaml", "history.csv"
TABLE, PAGE = "comparison.csv", "report.html"


@dataclass(frozen=True)
class Run:
    """A model with its options and data.

    Attributes:
        recipe: All options.
        data: Its data.
        vae: The model; once fitted, with the weights of the best epoch, and possibly a prior fitted after training.
    """

    recipe: Recipe
    data: Data
    vae: AnyVAE

    @property
    def has_means(self) -> bool:
        """Whether p(x|z) has a mean that looks like a datum; a categorical distribution has none."""
        return self.recipe.model.likelihood != "categorical"


def build_run(recipe: Recipe, data: Data) -> Run:
    """Build the model for loaded data; nothing is written.

    Raises:
        ValueError: If the recipe is invalid.
    """
    return Run(recipe, data, build_vae(recipe.model, seen_by_model(data, seed=recipe.model.seed)))


def fit_run(run: Run, folder: Path, *, resume: bool = False, device: str | None = None) -> FitResult:
    """Fit a run's model and write its folder: options, the best weights, the last state and the history so far, and finally a summary.

    With ``resume``, the fit goes on from the last state in the folder. Progress is shown as a bar in a terminal, and as one line per epoch
    elsewhere, such as in a log.
    """
    is_terminal = sys.stderr.isatty()

    def keep(history: pd.DataFrame) -> None:
        _write(history, folder / HISTORY)
        if not is_terminal:
            epoch = history.iloc[-1]
            print(f"epoch {epoch.epoch:.0f}: train {epoch.train_loss:.2f}, valid {epoch.valid_loss:.2f}", flush=True)

    write_yaml(folder / CONFIG, asdict(run.recipe))
    options, checkpoint = run.recipe.fit, folder / CHECKPOINT
    start = checkpoint if resume else None
    result = fit_vae(run.vae, run.data, options, checkpoint=checkpoint, resume=start, on_epoch=keep, device=device, progress=is_terminal)
    with replacing_file(folder / HISTORY) as temporary:  # whole, even where no epoch was left
        _write(result.history, temporary)
    write_yaml(folder / SUMMARY, sealed(_summary(run, result) | _place(run.recipe) | {"files": checksums(folder)}))
    return result


def _write(history: pd.DataFrame, path: Path) -> None:
    with named_errors(path), path.open("w", encoding="utf-8", newline="") as file:  # pandas would take ~ in a name for the home folder
        history.to_csv(file, index=False)


def _summary(run: Run, result: FitResult) -> dict[str, object]:
    return {
        "data": run.data.description,
        "data_id": training_id(run.data),
        "num_parameters": sum(p.numel() for p in run.vae.parameters()),
        "best_epoch": result.best_epoch,
        "best_valid_loss": result.best_loss,
        "stopped_early": result.stopped_early,
        "seconds": round(float(result.history["seconds"].sum()), 1),
        "torch": str(torch.__version__),
    }


def _place(recipe: Recipe) -> dict[str, object]:
    """Where the data are, if they are in a file: the path among the options may be relative to the directory of that day."""
    source = recipe.data.source
    return {} if source in PUBLISHED else {"data_file": str(Path(source).resolve())}


def checksums(folder: Path) -> dict[str, str]:
    """Checksums of the options and the history in a run's folder; of the options, all but the path of the data, which may move."""
    options = parse_yaml((folder / CONFIG).read_text())
    data = {name: value for name, value in options.get("data", {}).items() if name != "source"}
    return {CONFIG: checksum(options | {"data": data}), HISTORY: checksum((folder / HISTORY).read_text())}
