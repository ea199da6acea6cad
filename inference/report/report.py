"""A report of runs: tables, pictures and a verdict in a folder, and all of them on one page of HTML."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from inference.comparison.table import Comparison, compare
from inference.comparison.verdict import verdict
from inference.data.splits import random_rows
from inference.densities.scope import scoring
from inference.diagnostics.aggregate import is_matrix_form
from inference.diagnostics.diagnosis import Diagnosis, diagnose
from inference.files import replacing_file
from inference.formatting import format_bias, format_error, format_share, format_with_error, markdown_table, spreadsheet_name
from inference.predictive.draws import Values, encode, in_blocks, sample_latents
from inference.predictive.quality import format_quality, quality_table
from inference.recipes.build import seen_by_model
from inference.report.html import Block, Notes, Paragraph, Picture, Table, page
from inference.report.plots.curves import draw_estimates, draw_history
from inference.report.plots.latents import draw_codes, draw_dimension_kl
from inference.report.plots.scores import draw_differences, draw_reliability
from inference.report.quality import Judgement, judge, quality_blocks, with_names
from inference.report.samples import is_continuous, made
from inference.runs.folders import budget, read_history
from inference.runs.run import PAGE, TABLE, Run
from inference.scoring.evaluation import Evaluation

OVERVIEW = "overview.csv"
_MISMATCH = ("holes_prior", "holes_codes", "auc")
_OVERVIEW_NOTES = {
    "bias": "bias: how far log p(x) is estimated to be off on average because draws are few; it is not subtracted.",
    "holes_prior": "holes_prior: share of prior draws where there are no codes; holes_codes: share of codes where the prior has hardly "
    "any mass; auc: how well a classifier tells prior draws from codes. If prior and codes agree, the shares are 0.01 and auc is 0.5.",
    "precision": "Precision and the figures below it compare prior samples with test data.",
}
_NUM_CODES = 5000
_LEAST_DIAGNOSED = 100


def write_report(
    folders: Mapping[str, Path],
    runs: Mapping[str, Run],
    scores: Mapping[str, Evaluation],
    out: Path,
) -> None:
    """Write a comparison as CSV and Markdown, pictures as PNG, and report.html, which holds all of them.

    Args:
        folders: Run folders by the names of the models; a prior fitted after training has no folder of its own.
        runs: Fitted models by name, all of the same data; moved to the CPU.
        scores: Their evaluations, by the same names.
        out: An existing folder.

    Raises:
        ValueError: If the evaluations are not of the same data and measure.
    """
    table = compare(scores)
    names = list(table.index)
    folders = {name: folders[name] for name in names if name in folders}
    runs = {name: runs[name] for name in names if name in runs}
    scores = {name: scores[name] for name in names if name in scores}
    for run in runs.values():
        run.vae.cpu()
    fits = budget(folders, scores)
    description = runs[names[0]].data.description
    with replacing_file(out / TABLE) as temporary:
        table.rename(index=spreadsheet_name).to_csv(temporary)
    diagnoses, judgement = _diagnosed(runs), judge(runs)
    overview = _overview(table, diagnoses, judgement)
    with replacing_file(out / OVERVIEW) as temporary:
        overview.rename(index=spreadsheet_name).to_csv(temporary)
    notes = [note for name, note in _OVERVIEW_NOTES.items() if name in overview]
    tables = [table.to_markdown(), markdown_table(overview.T), markdown_table(fits)]
    with replacing_file(out / "comparison.md") as temporary:
        temporary.write_text("\n\n".join([description, *tables]) + "\n", encoding="utf-8")
    sections: dict[str, Sequence[Block]] = {
        "Overview": [Table(overview.T, "Likelihood, agreement of prior and codes, and sample quality of each model."), Notes(notes)],
        "Log-likelihood": _scores(table, out),
        "Reliability": _reliability(scores, out),
        "Samples": [*made(runs, out), *quality_blocks(judgement, out)],
        "Latent space": [*_latents(runs, out), *_diagnoses(diagnoses, list(runs), out)],
        "Training": _training(folders, fits, out),
    }
    title = f"{names[0]} on" if len(names) == 1 else f"{len(names)} models of"
    html = page(f"{title} {runs[names[0]].data.name}", description, verdict(scores), sections)
    with replacing_file(out / PAGE) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _scores(table: Comparison, out: Path) -> list[Block]:
    texts = pd.DataFrame(
        {
            "log p(x)": map(format_with_error, table["log_px"], table["se"]),
            "difference": map(format_with_error, table["difference"], table["difference_se"]),
            "ELBO": map(format_with_error, table["elbo"], table["elbo_se"]),
            "mc_error": map(format_error, table["mc_error"]),
            "bias": map(format_bias, table["bias"]),
            "bad_k": [format_share(share, table.attrs["num_data"]) for share in table["bad_k"]],
            "num_particles": table.formatted()["num_particles"],
            "log p(x) is": [_kind(name, table) for name in table.index],
        },
        index=table.index,
    )
    blocks: list[Block] = [Table(texts, "Nats per datum, with standard errors over the data; best model first."), Notes(table.notes)]
    if len(table) > 1:
        draw_differences(table, out / "differences.png")
        blocks.append(Picture(out / "differences.png", "Paired differences in log p(x) from the best model."))
    return blocks


def _kind(name: str, table: Comparison) -> str:
    if name in table.attrs["exact"]:
        return "exact"
    return "a lower bound" if table.loc[name, "is_bound"] else "an estimate"


def _reliability(scores: Mapping[str, Evaluation], out: Path) -> list[Block]:
    draw_estimates(scores, out / "estimate-vs-particles.png")
    curve = "Mean estimate of log p(x) against the number of draws: an estimate that still rises at the right end is too low."
    blocks: list[Block] = [Picture(out / "estimate-vs-particles.png", curve)]
    sampled = {name: score for name, score in scores.items() if not (score.is_bound or score.is_exact)}
    if sampled:
        draw_reliability(sampled, out / "reliability.png")
        caption = "Pareto k-hat and effective sample size of the importance weights, over the data."
        blocks.append(Picture(out / "reliability.png", caption))
    if len(sampled) < len(scores):
        others = ", ".join(name for name in scores if name not in sampled)
        blocks.append(Paragraph(f"Bounds and exact values have no k-hat and no effective sample size: {others}."))
    return blocks


def _overview(table: Comparison, diagnoses: Mapping[str, Diagnosis], judgement: Judgement) -> pd.DataFrame:
    """The main figures of each model, formatted: likelihood, agreement of prior and codes, and quality of prior samples."""
    rows = {}
    for name, score in table.iterrows():
        rows[name] = {"log p(x)": format_with_error(score["log_px"], score["se"]), "bias": format_bias(score["bias"])}
        if name in diagnoses:
            errors = diagnoses[name].standard_errors
            rows[name] |= {key: format_with_error(getattr(diagnoses[name], key), errors[key]) for key in _MISMATCH}
        if name in judgement.models:
            quality = format_quality(quality_table({name: judgement.models[name].prior_samples}))
            rows[name] |= with_names(quality).loc[name].to_dict()
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def _latents(runs: Mapping[str, Run], out: Path) -> list[Block]:
    codes, draws = {}, {}
    for name, run in runs.items():
        x = random_rows(seen_by_model(run.data), _NUM_CODES // 2, seed=0)
        x = x.repeat(2 * max(1, _NUM_CODES // 2 // len(x)), *[1] * (x.dim() - 1))
        z = in_blocks(lambda rows, pair=run.vae: encode(pair, rows), x, seed=0)
        if is_continuous(z):
            codes[name] = torch.stack(_joined(z).chunk(2))  # [2, N, D]
            draws[name] = _joined(in_blocks(lambda rows, pair=run.vae: sample_latents(pair, rows), x, seed=1))
    blocks: list[Block] = []
    if codes:
        draw_codes(codes, draws, out / "codes.png")
        caption = (
            "Codes of training data and the prior, in the plane that best tells data apart. Marked, if any: where one has 80% of its "
            "mass and the other at most a tenth of its density. A hole seen here is real; others may not show in a plane."
        )
        blocks.append(Picture(out / "codes.png", caption))
    if len(codes) < len(runs):
        discrete = ", ".join(name for name in runs if name not in codes)
        blocks.append(Paragraph(f"Discrete latents have no plane of codes and no walks: {discrete}."))
    return blocks


def _joined(codes: Values) -> Tensor:
    values = codes.values() if isinstance(codes, dict) else [codes]
    return torch.cat([part.reshape(len(part), -1) for part in values], dim=1)  # [N, D]


def _diagnosed(runs: Mapping[str, Run]) -> dict[str, Diagnosis]:
    """Diagnose, on training data, of the models for which every code can be scored under every datum's q(z|x) in seconds."""
    shown = {name: random_rows(seen_by_model(run.data), _NUM_CODES, seed=0) for name, run in runs.items()}
    return {
        name: diagnose(runs[name].vae, x, progress=False)
        for name, x in shown.items()
        if len(x) >= _LEAST_DIAGNOSED and _has_matrix_form(runs[name].vae, x)
    }


def _diagnoses(diagnoses: Mapping[str, Diagnosis], names: Sequence[str], out: Path) -> list[Block]:
    blocks: list[Block] = []
    if diagnoses:
        columns = {name: _with_errors(diagnosis.to_frame()) for name, diagnosis in diagnoses.items()}
        meanings = pd.concat([diagnosis.to_frame()["note"] for diagnosis in diagnoses.values()]).drop_duplicates()
        caption = "Terms of the KL, and how far prior and codes agree, on training data; in nats unless stated otherwise."
        blocks.append(Table(pd.DataFrame(columns).fillna(""), caption))
        blocks.append(Notes([f"{figure}: {note}" for figure, note in meanings.items()]))
    kls = {name: kl for name, diagnosis in diagnoses.items() if len(kl := _dimension_kls(diagnosis))}
    if kls:
        draw_dimension_kl(kls, out / "dimension-kl.png")
        blocks.append(Picture(out / "dimension-kl.png", "KL of each latent dimension; dimensions near zero are unused."))
    if len(diagnoses) < len(names):
        rest = ", ".join(name for name in names if name not in diagnoses)
        reasons = "there are too few data or the density of codes is slow to compute"
        blocks.append(Paragraph(f"Not diagnosed here, as {reasons}: {rest}. Use pyro-lvm diagnose."))
    return blocks


def _has_matrix_form(pair: object, x: Tensor) -> bool:
    with scoring(pair, x.device):
        return is_matrix_form(pair, (x[:2],))


def _with_errors(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(map(format_with_error, frame["value"], frame["se"]), frame.index)


def _dimension_kls(diagnosis: Diagnosis) -> pd.DataFrame:
    return pd.DataFrame({"value": diagnosis.dimension_kls.tolist(), "se": diagnosis.dimension_kl_errors.tolist()})


def _training(folders: Mapping[str, Path], fits: pd.DataFrame, out: Path) -> list[Block]:
    draw_history({name: read_history(folder) for name, folder in folders.items()}, out / "curves.png")
    curves = "Loss by epoch."
    return [Picture(out / "curves.png", curves), Table(fits, "Training budget of each model, and how much of it was used.")]
