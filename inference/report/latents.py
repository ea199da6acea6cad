"""The part of a report on latent spaces: codes and prior, what the KL is made of, and which latents are used."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from inference.data.splits import random_batch
from inference.densities.scope import scoring
from inference.diagnostics.aggregate import is_matrix_form
from inference.diagnostics.diagnosis import Diagnosis, diagnose
from inference.diagnostics.draws import has_one_prior
from inference.diagnostics.usage import LatentUse, latent_use
from inference.formatting import format_count, format_with_error
from inference.plots.planes import is_continuous
from inference.predictive.draws import encode
from inference.recipes.build import batch_seen
from inference.report.html import Block, Notes, Paragraph, Picture, Table
from inference.report.plots.latents import draw_codes
from inference.report.plots.units import UnitUse, draw_units
from inference.report.words import figure_name, in_words
from inference.runs.run import Run
from pyro_lvm.pair import Batch

NUM_CODES = 5000
_LEAST_DIAGNOSED = 100
_UNITS = (
    "Units of each latent, most used first. Left: KL(q(z_d) || p(z_d)) of the aggregate posterior, which says how well the codes of all "
    "data together fit the prior: near zero is a good fit, not an unused unit. Right: variance over the data of the mean of q(z|x), on a "
    "logarithmic scale; a unit in orange hardly varies with the data and is unused."
)


def diagnosed(runs: Mapping[str, Run]) -> dict[str, Diagnosis]:
    """Diagnose, on training data, the models for which every code can be scored under every datum's q(z|x) in seconds."""
    shown = {name: batch for name, batch in _training_data(runs).items() if _has_matrix_form(runs[name].pair, batch)}
    return {name: diagnose(runs[name].pair, batch, progress=False) for name, batch in shown.items()}


def used(runs: Mapping[str, Run], diagnoses: Mapping[str, Diagnosis]) -> dict[str, Diagnosis | LatentUse]:
    """Measure how latents are used: the diagnosis, where there is one."""
    shown = _training_data(runs)
    return {name: diagnoses.get(name) or latent_use(runs[name].pair, batch) for name, batch in shown.items()}


def _training_data(runs: Mapping[str, Run]) -> dict[str, Batch]:
    shown = {name: random_batch(batch_seen(run.data), NUM_CODES, seed=0) for name, run in runs.items()}
    return {name: batch for name, batch in shown.items() if len(batch[0]) >= _LEAST_DIAGNOSED}


def _has_matrix_form(pair: object, batch: Batch) -> bool:
    """Whether every code can be scored under every datum's q(z|x) in seconds, and there is one prior for all data."""
    with scoring(pair, batch[0].device):
        is_fast = is_matrix_form(pair, tuple(x[:2] for x in batch))
    return is_fast and (len(batch) == 1 or has_one_prior(pair, batch))


def latent_space(runs: Mapping[str, Run], out: Path) -> list[Block]:
    """Show codes and prior in a plane."""
    batches = {name: random_batch(batch_seen(run.data), NUM_CODES, seed=0) for name, run in runs.items()}
    codes = {name: encode(runs[name].pair, *(x[:2] for x in batch), seed=0) for name, batch in batches.items()}
    shown = {name: (runs[name].pair, batches[name]) for name, values in codes.items() if is_continuous(values)}
    blocks: list[Block] = []
    if shown:
        draw_codes(shown, out / "codes.png")
        caption = (
            "Codes of training data and the prior, in the plane that best tells data apart. Marked, if any: where one has 80% of its "
            "mass and the other at most a tenth of its density. A hole seen here is real; others may not show in a plane."
        )
        blocks.append(Picture(out / "codes.png", caption))
    if len(shown) < len(runs):
        discrete = ", ".join(name for name in runs if name not in shown)
        blocks.append(Paragraph(f"Discrete latents have no plane of codes and no walks: {discrete}."))
    return blocks


def diagnosis_blocks(
    diagnoses: Mapping[str, Diagnosis], uses: Mapping[str, Diagnosis | LatentUse], names: Sequence[str], out: Path
) -> list[Block]:
    """Tabulate the diagnoses, and draw how units fit the prior and which are used."""
    blocks: list[Block] = []
    if diagnoses:
        caption = "Terms of the KL, and how far prior and codes agree, on training data; in nats unless stated otherwise."
        blocks += _figures({name: diagnosis.to_frame() for name, diagnosis in diagnoses.items()}, caption, names)
    rest = [name for name in names if name not in diagnoses]
    if levels := {name: _levels(uses[name]) for name in rest if name in uses and uses[name].levels}:
        blocks += _figures(levels, "How latents are used, on training data; in nats unless stated otherwise.", names)
    if units := {name: own for name, use in uses.items() if (own := _units(use, diagnoses.get(name)))}:
        draw_units({f"{name}{site}": one for name, own in units.items() for site, one in own.items()}, out / "dimension-kl.png")
        blocks.append(Picture(out / "dimension-kl.png", _UNITS))
    if rest:
        reasons = "there are too few data, the density of codes is slow to compute, or the prior depends on a condition"
        blocks.append(Paragraph(f"Not diagnosed here, as {reasons}: {', '.join(rest)}. Use pyro-lvm diagnose."))
    return blocks


def _figures(frames: Mapping[str, pd.DataFrame], caption: str, names: Sequence[str]) -> list[Block]:
    columns = {name: pd.Series(map(_text, frame.index, frame["value"], frame["se"]), frame.index) for name, frame in frames.items()}
    notes = [
        sentence
        for figure in dict.fromkeys(label for frame in frames.values() for label in frame.index)
        for sentence in _meanings(figure, {name: frame for name, frame in frames.items() if figure in frame.index}, names)
    ]
    return [Table(pd.DataFrame(columns).fillna("").rename(index=figure_name), caption), Notes(notes)]


def _meanings(figure: str, frames: Mapping[str, pd.DataFrame], names: Sequence[str]) -> list[str]:
    """What a figure is; if that is not the same for all models, for which of them."""
    meanings: dict[str, list[str]] = {}
    for name, frame in frames.items():
        meanings.setdefault(str(frame.loc[figure, "note"]), []).append(name)
    models = {note: f" ({', '.join(own)})" if len(meanings) > 1 else "" for note, own in meanings.items()}
    return [f"{figure_name(figure)}{models[note]}: {in_words(note, names)}" for note in meanings]


def _text(figure: str, value: float, error: float) -> str:
    return format_count(int(value), error) if figure.startswith("active_units") else format_with_error(value, error)


def _levels(use: Diagnosis | LatentUse) -> pd.DataFrame:
    rows = {name: (value, use.standard_errors[name], use.notes[name]) for name, value in use.levels.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "se", "note"])


def _units(use: Diagnosis | LatentUse, diagnosis: Diagnosis | None) -> dict[str, UnitUse]:
    """Variance, use and, where it is known, KL of the units of each continuous latent, by what the latent adds to the model's name."""
    sites = {}
    for site, variance in use.unit_variances.items():
        is_only = len(use.unit_variances) == 1
        kls = diagnosis.dimension_kls if diagnosis is not None and len(diagnosis.dimension_kls) == len(variance) and is_only else None
        errors = diagnosis.dimension_kl_errors if diagnosis is not None and kls is not None else None
        sites["" if is_only else f", {site}"] = UnitUse(variance, use.collapsed[site], kls, errors)
    return sites
