"""A report of runs: tables, pictures and a verdict in a folder, and all of them on one page of HTML."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from inference.checkpoint import move_
from inference.comparison.cautions import poor_samples, unused_latents
from inference.comparison.recipes import compare_recipes
from inference.comparison.table import Comparison
from inference.comparison.verdict import verdict
from inference.diagnostics.diagnosis import Diagnosis
from inference.diagnostics.usage import LatentUse
from inference.drawing import save_axes
from inference.files import replacing_file
from inference.formatting import format_bias, format_error, format_with_error, markdown_table, spreadsheet_name
from inference.plots.curves import plot_history
from inference.predictive.quality import format_quality, quality_table
from inference.report.calibration import calibration_blocks
from inference.report.html import Block, Notes, Picture, Table, page
from inference.report.latents import diagnosed, diagnosis_blocks, latent_space, used
from inference.report.likelihoods import reliability_blocks, score_blocks
from inference.report.models import latents, likelihood, models_table, with_codes_of_any_data
from inference.report.quality import Judgement, judge, quality_blocks, with_names
from inference.report.samples import made
from inference.report.words import FIGURES, FITS
from inference.runs.fits import compare_beside, fit_cautions, group_fits
from inference.runs.folders import budget, read_history, read_summary
from inference.runs.run import PAGE, TABLE, Run
from inference.scoring.evaluation import Evaluation
from inference.yardsticks.fitting import NOTHING_BESIDE, Beside

OVERVIEW, RECIPES = "overview.csv", "recipes.csv"
_MISMATCH = ("holes_prior", "holes_codes", "auc")
_BIAS = "Bias: how far log p(x) is estimated to be off on average because draws are few; it is not subtracted."
_HOLES = (
    "Prior draws outside the codes are where hardly any codes are, and codes outside the prior where it has hardly any mass; the "
    "classifier tells prior draws from codes. Where prior and codes agree, the shares are 0.01 and the "
    "area under the classifier's curve is 0.5."
)
_UNITS = "Active units are latent units whose mean varies with the data; the others are unused."
_QUALITY = "Precision and the figures below it compare prior samples with test data."


def write_report(
    folders: Mapping[str, Path],
    runs: Mapping[str, Run],
    scores: Mapping[str, Evaluation],
    out: Path,
    beside: Beside = NOTHING_BESIDE,
    *,
    calibration: bool = False,
) -> list[str]:
    """Write a comparison as CSV and Markdown, pictures as PNG, and report.html, which holds all of them.

    Fits that differ only in their seeds are compared as one recipe, of which samples and latent spaces are shown for one fit.

    Args:
        folders: Run folders by the names of the models; a prior fitted after training has no folder of its own.
        runs: Fitted models by name, all of the same data; moved to the CPU.
        scores: Their evaluations, by the same names.
        out: An existing folder.
        beside: The yardsticks beside the models.
        calibration: Whether to calibrate the guides.

    Returns:
        The warnings that stand on the page.

    Raises:
        ValueError: If the evaluations are not of the same data and measure.
    """
    table = compare_beside(scores, beside)
    names = [name for name in table.index if name in runs]
    folders = {name: folders[name] for name in names if name in folders}
    runs = {name: runs[name] for name in names}
    scores = {name: scores[name] for name in names}
    for run in runs.values():
        move_(run.pair, "cpu")
    groups = group_fits(folders, runs)
    recipes = None if groups is None else compare_recipes({name: [scores[fit] for fit in fits] for name, fits in groups.items()})
    shown = runs if groups is None or recipes is None else {groups[name][0]: runs[groups[name][0]] for name in recipes.index}
    able, unable = with_codes_of_any_data(shown)
    diagnoses, judgement = diagnosed(able), judge(able) if able else Judgement("No samples are judged.")
    uses, fits = used(able, diagnoses), budget(folders, scores).rename(columns=FITS)
    overview = _overview(table, uses, diagnoses, judgement, shown)
    _write_tables(table, recipes, overview, fits, runs[names[0]].data.description, out)
    calibrated = calibration_blocks(able, out) if calibration else []
    made_and_judged = [*made(able, out), *quality_blocks(judgement, out)] if able else []
    of_codes = [*latent_space(able, out), *diagnosis_blocks(diagnoses, uses, list(able), out), *calibrated] if able else []
    sections: dict[str, Sequence[Block]] = {
        "Overview": _overview_blocks(overview, recipes, list(shown)),
        "Log-likelihood": score_blocks(table, recipes, out),
        "Reliability": reliability_blocks(scores, out),
        "Samples": [*made_and_judged, *unable],
        "Latent space": [*of_codes, *unable],
        "Training": _training(folders, fits, out),
        "Models": [Table(models_table(runs, folders), "Densities and sizes of each model.")],
    }
    warnings = [*fit_cautions(folders), *_cautions(scores, uses, judgement)]
    sentences = verdict({**scores, **beside.scores}, groups, beside.sizes)
    html = page(_title(runs, groups), runs[names[0]].data.description, sentences, sections, warnings)
    with replacing_file(out / PAGE) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return warnings


def _title(runs: Mapping[str, Run], groups: Mapping[str, Sequence[str]] | None) -> str:
    name, data = next(iter(runs)), next(iter(runs.values())).data.name
    if groups is not None:
        return f"{len(groups)} {'recipe' if len(groups) == 1 else 'recipes'} of {data}, {len(runs)} fits"
    return f"{name} on {data}" if len(runs) == 1 else f"{len(runs)} models of {data}"


def _cautions(scores: Mapping[str, Evaluation], uses: Mapping[str, Diagnosis | LatentUse], judgement: Judgement) -> list[str]:
    unused = [sentence for name, use in uses.items() for sentence in unused_latents(name, use)]
    qualities = {name: model.prior_samples for name, model in judgement.models.items()}
    return [*unused, *poor_samples(scores, qualities, judgement.real)]


def _write_tables(
    table: Comparison, recipes: Comparison | None, overview: pd.DataFrame, fits: pd.DataFrame, description: str, out: Path
) -> None:
    _write_csv(table, out / TABLE)
    _write_csv(overview, out / OVERVIEW)
    tables = [table.to_markdown(), markdown_table(overview.T), markdown_table(fits)]
    if recipes is not None:
        _write_csv(recipes, out / RECIPES)
        tables = [recipes.to_markdown(), *tables]
    with replacing_file(out / "comparison.md") as temporary:
        temporary.write_text("\n\n".join([description, *tables]) + "\n", encoding="utf-8")


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with replacing_file(path) as temporary:
        table.rename(index=spreadsheet_name).to_csv(temporary)


def _overview(
    table: Comparison,
    uses: Mapping[str, Diagnosis | LatentUse],
    diagnoses: Mapping[str, Diagnosis],
    judgement: Judgement,
    runs: Mapping[str, Run],
) -> pd.DataFrame:
    """The main figures of each model, formatted: what it is, likelihood, agreement of prior and codes, and quality of prior samples."""
    rows: dict[str, dict[str, str]] = {}
    for name, run in runs.items():
        score = table.loc[name]
        rows[name] = {"log p(x)": format_with_error(score["log_px"], score["se"]), "bias": format_bias(score["bias"])}
        rows[name] |= {"likelihood p(x|z)": likelihood(run), "latents": latents(run)}
        rows[name] |= _agreement(diagnoses[name]) if name in diagnoses else {}
        rows[name] |= _active(uses[name]) if name in uses else {}
        if name in judgement.models:
            quality = format_quality(quality_table({name: judgement.models[name].prior_samples}))
            rows[name] |= with_names(quality).loc[name].to_dict()
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def _agreement(diagnosis: Diagnosis) -> dict[str, str]:
    return {key: format_with_error(getattr(diagnosis, key), diagnosis.standard_errors[key]) for key in _MISMATCH}


def _active(use: Diagnosis | LatentUse) -> dict[str, str]:
    total = sum(len(variance) for variance in use.unit_variances.values())
    active = total - sum(map(len, use.collapsed.values()))
    return {"active_units": f"{active} of {total}"} if total else {}


def _overview_blocks(overview: pd.DataFrame, recipes: Comparison | None, shown: Sequence[str]) -> list[Block]:
    notes = {"bias": _BIAS, "auc": _HOLES, "active_units": _UNITS, "precision": _QUALITY}
    caption = "Likelihood, agreement of prior and codes, and sample quality of each model."
    blocks: list[Block] = [
        Table(overview.T.rename(index=FIGURES), caption),
        Notes([note for name, note in notes.items() if name in overview]),
    ]
    if recipes is None:
        return blocks
    scatter = {name: _of_recipe(row) for name, row in recipes.iterrows()}
    means = Table(pd.DataFrame.from_dict(scatter, orient="index"), "Recipes: means over fits with different seeds, and their scatter.")
    which = f"Of each recipe, the fit with the lowest seeds is shown here and among samples and latent spaces: {', '.join(shown)}."
    return [means, *blocks, Notes([which])]


def _of_recipe(row: pd.Series) -> dict[str, str]:
    return {
        "log p(x)": format_with_error(row["log_px"], row["se"]),
        "fits": f"{row['fits']:.0f}",
        "standard deviation over fits": format_error(row["fit_sd"]),
        "difference": format_with_error(row["difference"], row["difference_se"]),
    }


def _training(folders: Mapping[str, Path], fits: pd.DataFrame, out: Path) -> list[Block]:
    histories = {name: read_history(folder) for name, folder in folders.items()}
    best_epochs = {name: read_summary(folder)["best_epoch"] for name, folder in folders.items()}
    save_axes(plot_history(histories, best_epochs=best_epochs), out / "curves.png")
    curves = "Loss by epoch."
    return [Picture(out / "curves.png", curves), Table(fits, "Training budget of each model, and how much of it was used.")]
