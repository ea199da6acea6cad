"""What determines kept scores and fitted priors, and what has changed since they were written."""

from collections.abc import Mapping
from dataclasses import asdict, fields
import json
from typing import Any

from inference.checkpoint import weights_id
from inference.data.fingerprint import split_id, training_id
from inference.recipes.fitted_priors import VERSION as EXPOST_VERSION
from inference.recipes.options import DataOptions, EvaluateOptions, evaluate_options, fit_options, model_options
from inference.runs.run import Run
from inference.scoring.importance import VERSION as SCORING_VERSION

Origin = dict[str, Any]
_KINDS = {"data": lambda: DataOptions, "model": model_options, "fit": fit_options, "evaluate": evaluate_options}
_SAID = {
    "weights": "the weights have changed",
    "rows": "the data have changed",
    "training rows": "the training data have changed",
    "validation rows": "the validation data have changed",
    "version": "this version computes it otherwise",
}


def score_origin(run: Run, options: EvaluateOptions, suffix: str) -> Origin:
    """What determines the score of a run's model, or of its variant in a row of a comparison, by name."""
    num_particles, num_steps = options.counts
    asked = asdict(options) | {"num_particles": num_particles, "num_steps": num_steps}
    facts = {"version": SCORING_VERSION, "row": suffix, "rows": split_id(run.data, options.split)}
    return _plain(_model(run) | _named("evaluate", asked) | facts)


def asked(origin: Mapping[str, Any]) -> EvaluateOptions:
    """The options that a score's origin names."""
    named = {field.name: origin.get(f"evaluate.{field.name}", field.default) for field in fields(evaluate_options())}
    return evaluate_options()(**named | {"num_steps": named["num_steps"] or None})


def expost_origin(run: Run, expost: str) -> Origin:
    """What determines a prior fitted after training, by name."""
    return _plain(_fitted_to(run) | _named("fit", asdict(run.recipe.fit)) | {"version": EXPOST_VERSION, "expost": expost})


def temperature_origin(run: Run, num_particles: int) -> Origin:
    """What determines the temperature of a soft proposal, by name."""
    facts = {"version": SCORING_VERSION, "draws": num_particles, "fit.seed": run.recipe.fit.seed}
    return _plain(_fitted_to(run) | facts)


def changes(kept: Mapping[str, Any] | None, now: Origin, file: str) -> str:
    """Say in words what has changed since a file with an origin was written, or that it has none; nothing if it is as now."""
    if kept is None:
        return f"{file} does not say what it comes from, as an earlier version or another program wrote it"
    said = [_said(name, kept.get(name, _default(name)), value) for name, value in now.items()]
    changed = list(filter(None, said))
    return f"{' and '.join(changed[:3])} since {file} was written" if changed else ""


def _said(name: str, before: object, after: object) -> str:
    if before == after:
        return ""
    return _SAID.get(name) or f"{name} was {before!r} and is {after!r}"


def _default(name: str) -> object:
    """The default of an option, which files of versions without that option imply; it is plain, as in a file."""
    kind, _, option = name.partition(".")
    defaults = {field.name: field.default for field in fields(_KINDS[kind]())} if kind in _KINDS else {}
    return _plain({option: defaults[option]})[option] if option in defaults else None


def _fitted_to(run: Run) -> Origin:
    data = {name: value for name, value in asdict(run.recipe.data).items() if name != "source"}
    return _model(run) | _named("data", data) | {"training rows": training_id(run.data), "validation rows": split_id(run.data, "valid")}


def _model(run: Run) -> Origin:
    recipe = run.recipe.kept()
    own = _named("pair", recipe.pair or {}) | ({"code": recipe.code} if recipe.code else {})
    return {"weights": weights_id(run.pair)} | _named("model", asdict(recipe.model)) | own


def _named(kind: str, options: Mapping[str, object]) -> Origin:
    return {f"{kind}.{name}": value for name, value in options.items()}


def _plain(origin: Origin) -> Origin:
    return json.loads(json.dumps(origin))
