"""Scores, fitted priors and temperatures kept in the folders of runs, which count only as long as what determines them is unchanged."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
import sys
from typing import Any

from inference.checkpoint import put_back, saved_origin, snapshot, weights_id
from inference.data.fingerprint import data_id
from inference.recipes.fitted_priors import load_expost
from inference.recipes.options import EvaluateOptions
from inference.recipes.registries import EXPOST
from inference.runs.origins import Origin, asked, changes, expost_origin, score_origin, temperature_origin
from inference.runs.reading import read_sealed
from inference.runs.run import CHECKPOINT, Run
from inference.scoring import netcdf
from inference.scoring.evaluation import Evaluation

PROPOSAL, SOFT = "proposal.yaml", "soft"
ROW_SOFT = "~soft"  # suffix of a row with a soft proposal


def evaluation_path(folder: Path, options: EvaluateOptions) -> Path:
    """Path of the netCDF file of an evaluation, whose name says how it was made; that of a score with the guide says nothing of it."""
    precision = "" if options.precision == "full" else f"-{options.precision}"
    proposal = "" if options.proposal == "guide" else f"-{options.proposal}"
    num_particles, num_steps = options.counts
    method = "" if options.method == "importance" else f"-{options.method}{num_steps or ''}"
    return folder / f"{options.split}-K{num_particles}-seed{options.seed}{precision}{method}{proposal}.nc"


def expost_path(folder: Path, expost: str) -> Path:
    """Folder of a prior fitted after training."""
    return folder / f"expost-{expost}"


def read_evaluation(run: Run, folder: Path, options: EvaluateOptions, suffix: str = "", *, remedy: str = "left out") -> Evaluation | None:
    """Read a score that a run keeps, or return ``None`` if there is none of the present weights, data and options.

    One that is damaged, or of anything else, is told of on stderr, with the remedy.
    """
    path = evaluation_path(folder, options)
    return _read(run, path, options, suffix, remedy) if path.exists() else None


def _read(run: Run, path: Path, options: EvaluateOptions | None, suffix: str, remedy: str) -> Evaluation | None:
    """Read a score as :func:`read_evaluation` does; without options, they are those that the file names."""
    try:
        score, origin = netcdf.read(path, Evaluation)
        options = options or asked(origin or {})
    except (ValueError, OSError) as error:
        _say(f"{error} {remedy.capitalize()}.")
        return None
    if changed := changes(origin, score_origin(run, options, suffix), path.name) or _disagreement(score, run, options):
        _say(f"{path.parent}: {changed}; {remedy}.")
        return None
    return score


def _disagreement(score: Evaluation, run: Run, options: EvaluateOptions) -> str:
    """Say what of a score is not as asked for, or nothing; one draw is made where more would be alike.

    A pair of several arguments may observe any of them; that these are the same, the score's origin shows.
    """
    batch, num_particles = run.data.batch(options.split), 1 if score.num_particles == 1 else options.counts[0]
    asked: dict[str, object] = {"K": num_particles, "seed": options.seed, "precision": options.precision, "rows": len(batch[0])}
    asked |= {"data_id": data_id(*batch)} if len(batch) == 1 else {}
    found = {name: getattr(score, {"K": "num_particles"}.get(name, name)) for name in asked if name != "rows"} | {"rows": len(score.log_px)}
    found["data_id"] = str(found.get("data_id", "")).partition("~")[0]  # after it, a score says which elements a pair observes
    return " and ".join(f"{name} is {found[name]} instead of {asked[name]}" for name in asked if found[name] != asked[name])


def kept_temperature(path: Path, origin: Origin, *, remedy: str) -> float | None:
    """The temperature in a file, if it is of this origin; otherwise what differs is said on stderr, with the remedy."""
    if not path.exists():
        return None
    try:
        kept = read_sealed(path, {"temperature": float}, remedy.capitalize())
    except (ValueError, OSError) as error:
        _say(str(error))
        return None
    if changed := changes(kept.get("origin"), origin, path.name):
        _say(f"{path.parent}: {changed}; {remedy}.")
        return None
    return kept["temperature"]


def soft_run(run: Run, suffix: str, temperature: float) -> tuple[Run, str]:
    """A run's VQVAE with a soft proposal, and what its scores are named by among what determines them."""
    vae: Any = run.pair
    return replace(run, pair=vae.soft(temperature)), f"{suffix}{ROW_SOFT} {temperature!r}"


def kept_expost(run: Run, folder: Path, expost: str, *, remedy: str) -> Run | None:
    """A run's model under the prior in a folder, if it was fitted to the present weights; otherwise what differs is said on stderr.

    A checkpoint also holds the weights that the prior was fitted to, so that one of an earlier version, which names no origin, can be
    trusted.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    own, before = snapshot(run.pair), weights_id(run.pair)
    try:
        origin = saved_origin(path)
        changed = changes(origin, expost_origin(run, expost), path.name) if origin else ""
        if not changed:
            loaded = load_expost(run.pair, run.data, expost, run.recipe, path)
            changed = "" if weights_id(run.pair) == before else f"the weights have changed since {path.name} was written"
    except (ValueError, OSError) as error:
        put_back(own)
        _say(f"{error} {remedy.capitalize()}.")
        return None
    if changed:
        put_back(own)
        _say(f"{folder}: {changed}; {remedy}.")
        return None
    return replace(run, pair=loaded)


def kept_scores(run: Run, folder: Path) -> dict[str, Evaluation]:
    """The scores in a run's folder that are of its present weights, data and options, by their paths in it without ``.nc``.

    Others, and damaged ones, are told of on stderr and left out.
    """
    scores: dict[str, Evaluation] = {}
    for place, own, suffix in _kept_variants(run, folder):
        for path in sorted(place.glob("*.nc")):
            score = _read(own, path, None, suffix, "left out")
            scores |= {} if score is None else {str(path.relative_to(folder).with_suffix("")): score}
    return scores


def _kept_variants(run: Run, folder: Path) -> Iterator[tuple[Path, Run, str]]:
    """The run and its variants under priors fitted after training and with soft proposals, with their folders and suffixes."""
    priors = {kind: kept_expost(run, expost_path(folder, kind), kind, remedy="left out") for kind in EXPOST}
    whole = [(folder, run, ""), *((expost_path(folder, kind), own, f"+{kind}") for kind, own in priors.items() if own is not None)]
    for place, own, suffix in whole:
        yield place, own, suffix
        if (place / PROPOSAL).exists():
            temperature = _any_temperature(own, place / PROPOSAL)
            yield from [] if temperature is None else [(place / SOFT, *soft_run(own, suffix, temperature))]


def _any_temperature(run: Run, path: Path) -> float | None:
    """The temperature in a file for whatever number of draws it was fitted with."""
    try:
        num_particles = read_sealed(path, {"num_particles": int}, "Left out")["num_particles"]
    except (ValueError, OSError) as error:
        _say(str(error))
        return None
    return kept_temperature(path, temperature_origin(run, num_particles), remedy="left out")


def _say(message: str) -> None:
    print(" ".join(message.split()), file=sys.stderr, flush=True)
