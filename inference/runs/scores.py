"""Scores of runs, kept in their folders: of the fitted model, under priors fitted after training, and with soft proposals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
import sys
import time
from typing import NamedTuple

from inference.checkpoint import device_of, move_, save_checkpoint
from inference.data.fingerprint import data_id
from inference.files import replacing_file, write_yaml
from inference.processes import from_first, is_first
from inference.recipes.build import bound_pair, evaluate_pair, evaluate_rows
from inference.recipes.fitted_priors import fit_expost
from inference.recipes.options import EvaluateOptions
from inference.runs.kept import (
    PROPOSAL,
    ROW_SOFT,
    SOFT,
    evaluation_path,
    expost_path,
    kept_expost,
    kept_temperature,
    read_evaluation,
    soft_run,
)
from inference.runs.origins import expost_origin, score_origin, temperature_origin
from inference.runs.reading import sealed
from inference.runs.run import CHECKPOINT, Run
from inference.scoring import netcdf
from inference.scoring.annealed.bounds import BidirectionalBounds
from inference.scoring.evaluation import Evaluation
from inference.scoring.temperature import fit_temperature
from pyro_lvm.contract import read_structure

BOUNDS = "bidirectional.csv"
_MOST_PARTICLES = 200  # when a temperature is chosen


class ScoredRow(NamedTuple):
    """A row of a comparison.

    Attributes:
        suffix: What is appended to the name of the run: nothing for the run as fitted, ``"+KIND"`` for a prior fitted after training,
            ``ROW_SOFT`` for a soft proposal.
        run: The run, with the model of this row.
        score: Its score.
    """

    suffix: str
    run: Run
    score: Evaluation


def evaluate_run(
    run: Run, folder: Path, options: EvaluateOptions, suffix: str = "", *, device: str | None = None, progress: bool = False
) -> Evaluation:
    """Score a run's model, or the variant of a row, on its own data, and save the score with what determines it as netCDF and CSV."""
    score = evaluate_pair(run.pair, run.data, options, device=device, progress=progress)
    if is_first():
        path = evaluation_path(folder, options)
        score.to_csv(path.with_suffix(".csv"))
        netcdf.write(score, path, origin=score_origin(run, options, suffix))
    return score


def bound_run(
    run: Run, folder: Path, options: EvaluateOptions, num_data: int, *, device: str | None = None, progress: bool = False
) -> tuple[BidirectionalBounds, Evaluation]:
    """Bound log p(x) of data simulated from a run's model, save the bounds in its folder as CSV, and score these data with the options."""
    bounds = bound_pair(run.pair, run.data, options, num_data, device=device, progress=progress)
    if is_first():
        with replacing_file(folder / BOUNDS) as temporary:
            bounds.to_frame().to_csv(temporary)
    return bounds, evaluate_rows(run.pair, bounds.data, options, device=device, progress=progress)


def score_run(
    run: Run,
    folder: Path,
    expost: Sequence[str],
    options: EvaluateOptions,
    *,
    anew: bool = False,
    device: str | None = None,
) -> Iterator[ScoredRow]:
    """Score a run, then its model under priors fitted after training; saved priors and scores are reused.

    A model whose encoder takes the nearest codes is scored twice: by its bound, and by the estimate with a soft proposal.

    Args:
        run: The fitted run.
        folder: Its folder; weights and scores of a prior fitted after training go to a folder ``expost-KIND`` in it.
        expost: Kinds of priors to fit.
        options: How to score.
        anew: Whether to score again even if there is a saved score.
        device: Device to fit and score on.

    Yields:
        The rows of the run, then those of each prior.
    """
    yield from _rows("", run, folder, options, anew, device)
    for kind in expost:
        place = expost_path(folder, kind)
        yield from _rows(f"+{kind}", run_under(run, place, kind, device), place, options, anew, device)


def _rows(suffix: str, run: Run, folder: Path, options: EvaluateOptions, anew: bool, device: str | None) -> Iterator[ScoredRow]:
    yield ScoredRow(suffix, run, _score(run, folder, options, suffix, anew, device))
    if _can_be_soft(run):
        temperature, place = _temperature(run, folder, options, device), folder / SOFT
        soft, name = soft_run(run, suffix, temperature)
        place.mkdir(exist_ok=True)
        yield ScoredRow(suffix + ROW_SOFT, soft, _score(soft, place, options, name, anew, device))


def _score(run: Run, folder: Path, options: EvaluateOptions, name: str, anew: bool, device: str | None) -> Evaluation:
    kept = None if anew else from_first(lambda: read_evaluation(run, folder, options, name, remedy="scored anew"))
    return kept or evaluate_run(run, folder, options, name, device=device, progress=sys.stderr.isatty())


def _can_be_soft(run: Run) -> bool:
    """Whether the guide takes the nearest codes, and the model offers one that draws them."""
    return (
        hasattr(run.pair, "soft")
        and read_structure(run.pair, *(x[:2].to(device_of(run.pair)) for x in run.data.batch("train"))).is_deterministic
    )


def _temperature(run: Run, folder: Path, options: EvaluateOptions, device: str | None) -> float:
    """The temperature saved in the folder for this number of draws, or one fitted now to validation data."""
    path, num_particles = folder / PROPOSAL, min(options.counts[0], _MOST_PARTICLES)
    origin = temperature_origin(run, num_particles)
    kept = from_first(lambda: kept_temperature(path, origin, remedy="fitted anew"))
    if kept is not None:
        return kept
    move_(run.pair, device)
    valid = tuple(x.to(device) for x in run.data.batch("valid"))
    temperature = fit_temperature(run.pair.soft, valid, num_particles=num_particles, seed=run.recipe.fit.seed)
    if is_first():
        write_yaml(path, sealed({"temperature": temperature, "num_particles": num_particles, "origin": origin}))
    return temperature


def run_under(run: Run, folder: Path, expost: str, device: str | None = None) -> Run:
    """A run's model under a prior fitted after training, which is loaded from a folder, or fitted and saved there."""
    kept = kept_expost(run, folder, expost, remedy="fitted anew")
    if kept is not None:
        return kept
    start = time.perf_counter()
    fitted = replace(run, pair=fit_expost(run.pair, run.data, expost, run.recipe, device=device))
    seconds = time.perf_counter() - start
    print(f"{folder}: fitted to {len(run.data.train)} codes in {seconds:.1f} s", flush=True)
    save_checkpoint(fitted.pair, folder / CHECKPOINT, origin=expost_origin(run, expost))
    return fitted


def score_runs(
    runs: Mapping[str, Run],
    folders: Mapping[str, Path],
    options: EvaluateOptions,
    *,
    expost: Mapping[str, Sequence[str]] | None = None,
    device: str | None = None,
) -> tuple[dict[str, Run], dict[str, Evaluation]]:
    """Return models and scores by name: those of the runs and, as ``NAME+KIND``, those under priors fitted after training.

    Runs may differ in what is given besides the observations, which :func:`~inference.comparison.table.compare` says.

    Raises:
        ValueError: If the runs are not of the same data.
    """
    found = {name: data_id(getattr(run.data, options.split)) for name, run in runs.items()}
    first, *others = runs
    for name in others:
        if found[name] != found[first]:
            rows = [f"{each} has {runs[each].data.description.rstrip('.')} [{found[each]}]" for each in (first, name)]
            raise ValueError(
                f"the {options.split} rows must be the same everywhere; {', '.join(rows)}. Compare runs of the same data and split."
            )
    models, scores = {}, {}
    for name, run in runs.items():
        kinds = (expost or {}).get(name, ())
        for row in score_run(run, folders[name], kinds, options, device=device):
            models[name + row.suffix], scores[name + row.suffix] = row.run, row.score
    return models, scores
