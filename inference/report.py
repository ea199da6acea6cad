"""A report of runs: tables, pictures and a verdict in a folder, and all of it on one page of HTML."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from inference import page
from inference.aggregate import is_matrix_form
from inference.compare import Comparison, compare
from inference.diagnosis import Diagnosis
from inference.diagnostics import diagnose
from inference.evaluation import Evaluation
from inference.features import default_features
from inference.importance import scoring
from inference.latent_pictures import draw_codes, draw_dimension_kl
from inference.pictures import are_images, draw_estimates, draw_history, draw_images
from inference.quality import (
    MIN_ROWS,
    SampleQuality,
    format_quality,
    pair_samples,
    quality_differences,
    quality_table,
    sample_quality,
)
from inference.recipes import seen_by_model
from inference.runs import PAGE, TABLE, Run, budget, random_rows, read_history
from inference.score_pictures import draw_differences, draw_reliability
from inference.tables import format_error, format_share, format_with_error, markdown_table
from inference.verbs import Values, decode, encode, in_blocks, interpolate, reconstruct, sample_latents, sample_prior
from inference.verdict import verdict

OVERVIEW = "overview.csv"
NUM_IMAGES = 20
_MISMATCH = ("holes_prior", "holes_codes", "auc")
_OVERVIEW_NOTES = (
    "holes_prior: share of prior draws where no codes are; holes_codes: share of codes that the prior hardly ever draws. Both are 0.01 if "
    "prior and codes agree, and auc, how well a classifier tells them apart, is 0.5.",
    "Precision and the figures below it are of prior samples against test data.",
)
_NUM_CODES = 5000
_LEAST_DIAGNOSED = 100
_MOST_TRAINING, _MOST_SAMPLES = 10_000, 2000


def write_report(
    folders: Mapping[str, Path],
    runs: Mapping[str, Run],
    scores: Mapping[str, Evaluation],
    out: Path,
) -> None:
    """Writes a comparison as CSV and Markdown, pictures as PNG, and report.html, which holds all of them.

    Args:
        folders: Run folders by the models' names; a prior fitted after training has none of its own.
        runs: Fitted models by name, all of the same data; moved to the CPU.
        scores: Their evaluations.
        out: An existing folder.

    Raises:
        ValueError: If the evaluations are not of the same data and measure.
    """
    table = compare(scores)
    names = list(table.index)
    folders, runs, scores = ({name: given[name] for name in names if name in given} for given in (folders, runs, scores))
    for run in runs.values():
        run.vae.cpu()
    fits = budget(folders, scores)
    description = runs[names[0]].data.description
    table.to_csv(out / TABLE)
    diagnoses, (features, qualities) = _diagnosed(runs), _judged(runs)
    overview = _overview(table, diagnoses, qualities)
    overview.to_csv(out / OVERVIEW)
    tables = [table.to_markdown(), markdown_table(overview.T), markdown_table(fits)]
    (out / "comparison.md").write_text("\n\n".join([description, *tables]) + "\n")
    sections = {
        "Overview": [page.table(overview.T, "What speaks for each model."), page.notes(_OVERVIEW_NOTES)],
        "Log-likelihood": _scores(table, out),
        "Reliability": _reliability(scores, out),
        "Samples": [*_images(runs, out), *_quality(qualities, features, out)],
        "Latent space": [*_latents(runs, out), *_diagnoses(diagnoses, list(runs), out)],
        "Training": _training(folders, fits, out),
    }
    title = f"{names[0]} on" if len(names) == 1 else f"{len(names)} models of"
    html = page.page(f"{title} {runs[names[0]].data.name}", description, verdict(scores), sections)
    (out / PAGE).write_text(html, encoding="utf-8")


def _scores(table: Comparison, out: Path) -> list[str]:
    texts = pd.DataFrame(
        {
            "log p(x)": map(format_with_error, table["log_px"], table["se"]),
            "difference": map(format_with_error, table["difference"], table["difference_se"]),
            "ELBO": map(format_with_error, table["elbo"], table["elbo_se"]),
            "mc_error": map(format_error, table["mc_error"]),
            "bad_k": [format_share(share, table.attrs["num_data"]) for share in table["bad_k"]],
            "num_particles": table.formatted()["num_particles"],
            "log p(x) is": ["a lower bound" if is_bound else "an estimate" for is_bound in table["is_bound"]],
        },
        index=table.index,
    )
    blocks = [page.table(texts, "Nats a datum, with standard errors over the data; best model first."), page.notes(table.notes)]
    if len(table) > 1:
        draw_differences(table, out / "differences.png")
        blocks.append(page.figure(out / "differences.png", "Paired differences to the best model in log p(x)."))
    return blocks


def _reliability(scores: Mapping[str, Evaluation], out: Path) -> list[str]:
    draw_estimates(scores, out / "estimate-vs-particles.png")
    curve = "Mean estimate of log p(x) by the number of draws: where it still rises at the right end, it is too low."
    blocks = [page.figure(out / "estimate-vs-particles.png", curve)]
    sampled = {name: score for name, score in scores.items() if not score.is_bound}
    if sampled:
        draw_reliability(sampled, out / "reliability.png")
        caption = "Pareto k-hat and effective sample size of the importance weights, over the data."
        blocks.append(page.figure(out / "reliability.png", caption))
    if len(sampled) < len(scores):
        bounds = ", ".join(name for name in scores if name not in sampled)
        blocks.append(page.paragraph(f"Bounds have no k-hat and no effective sample size: {bounds}."))
    return blocks


def _images(runs: Mapping[str, Run], out: Path) -> list[str]:
    shown = {name: random_rows(run.data.test, NUM_IMAGES, seed=0) for name, run in runs.items()}
    x = next(iter(shown.values()))
    if not are_images(x.shape[1:]):
        return [page.paragraph(f"No pictures of samples: data of shape {tuple(x.shape[1:])} are no images.")]
    samples = {name: sample_prior(run.vae, shown[name], seed=0, means=True) for name, run in runs.items()}
    mirrored = {name: reconstruct(run.vae, shown[name], seed=0) for name, run in runs.items()}
    walks = {name: walk for name, run in runs.items() if (walk := _walks(run.vae, shown[name])) is not None}
    pictures = {
        "samples": ({"test data": x} | samples, "Draws from each prior, decoded to means; above them test data."),
        "reconstructions": ({"test data": x} | mirrored, "Test data, encoded and decoded to means."),
        "walks": (walks, "Two walks through latent space, each from one test datum to another: these are its ends."),
    }
    blocks = []
    for name, (rows, caption) in pictures.items():
        if rows:
            same_shape = {label: images.reshape(-1, *x.shape[1:]) for label, images in rows.items()}
            draw_images(same_shape, out / f"{name}.png", title=name.capitalize())
            blocks.append(page.figure(out / f"{name}.png", caption))
    return blocks


def _walks(pair: object, x: Tensor) -> Tensor | None:
    """Two walks of ten images, data at both ends; None where there is nothing to walk in or between."""
    codes = encode(pair, x, seed=0)
    if not _is_continuous(codes) or len(x) < 4:
        return None
    steps = NUM_IMAGES // 2 - 2
    strips = []
    for start in (0, 2):
        decoded = decode(pair, _between(codes, start, steps), x[:1].expand(steps, *x.shape[1:]))
        strips += [x[start, None], decoded, x[start + 1, None], torch.full_like(x[:1], float(x.max()))]
    return torch.cat(strips[:-1])


def _between(codes: Values, start: int, num_steps: int) -> Values:
    if isinstance(codes, dict):
        return {name: _between(values, start, num_steps) for name, values in codes.items()}
    return interpolate(codes[start], codes[start + 1], num_steps)


def _overview(table: Comparison, diagnoses: Mapping[str, Diagnosis], qualities: Mapping[str, SampleQuality]) -> pd.DataFrame:
    """What speaks for each model, in texts: likelihood, the fit of prior and codes, and what prior samples look like."""
    rows = {}
    for name, score in table.iterrows():
        rows[name] = {"log p(x)": format_with_error(score["log_px"], score["se"])}
        if name in diagnoses:
            errors = diagnoses[name].standard_errors
            rows[name] |= {key: format_with_error(getattr(diagnoses[name], key), errors[key]) for key in _MISMATCH}
        if f"{name}: prior samples" in qualities:
            quality = format_quality(quality_table({name: qualities[f"{name}: prior samples"]}))
            rows[name] |= _named(quality).loc[name].to_dict()
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def _judged(runs: Mapping[str, Run]) -> tuple[str, dict[str, SampleQuality]]:
    """The feature space, and samples and reconstructions of validation data, as many each, against test data; none if these are few."""
    data = next(iter(runs.values())).data
    size = min(len(data.valid), len(data.test), _MOST_SAMPLES)
    if size < MIN_ROWS:
        return "", {}
    train, labels = seen_by_model(data), data.labels and data.labels["train"]
    rows = random_rows(torch.arange(len(train)), _MOST_TRAINING, seed=0)
    features = default_features(train[rows], labels if labels is None else labels[rows])
    real = random_rows(data.test, size, seed=0)
    samples = {"real data": random_rows(data.valid, size, seed=1)}
    for name, run in runs.items():
        made = pair_samples(run.vae, random_rows(run.data.valid, size, seed=1))
        samples |= {f"{name}: {kind}": x.reshape(real.shape) for kind, x in made.items()}
    return features.description, {name: sample_quality(x, real, features) for name, x in samples.items()}


def _quality(qualities: Mapping[str, SampleQuality], features: str, out: Path) -> list[str]:
    if not qualities:
        return [page.paragraph(f"Too few data to judge samples: {MIN_ROWS} held out are needed.")]
    kinds = ("prior samples", "reconstructions")
    names = [name.removesuffix(f": {kinds[0]}") for name in qualities if name.endswith(kinds[0])]
    pairs = {name: tuple(qualities[f"{name}: {kind}"] for kind in kinds) for name in names}
    table, real = quality_table(qualities), qualities["real data"]
    table.to_csv(out / "quality.csv")
    caption = f"Samples against {real.num_real} test data, as many in each row; standard errors from random halvings."
    price = "The price of the hole: prior samples less reconstructions."
    explanation = (
        "Samples are draws from p(x|z), not means. Real data and reconstructions are of the validation set, so the first row is "
        "what perfect samples would get. Precision and density: do samples look like data? Recall and coverage: are all data "
        "sampled? The Fréchet distance is squared, less is better, and depends on the number of data."
    )
    return [
        page.paragraph(explanation),
        page.table(_named(format_quality(table)), caption),
        page.table(_named(format_quality(quality_differences(pairs))), price),
        page.notes([f"Feature space: {features}; neighbours in a ball: {real.neighbours}."]),
    ]


def _named(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns=lambda name: "Fréchet distance" if name == "frechet" else name)


def _latents(runs: Mapping[str, Run], out: Path) -> list[str]:
    codes, draws = {}, {}
    for name, run in runs.items():
        x = random_rows(seen_by_model(run.data), _NUM_CODES // 2, seed=0)
        x = x.repeat(2 * max(1, _NUM_CODES // 2 // len(x)), *[1] * (x.dim() - 1))
        z = in_blocks(lambda rows, pair=run.vae: encode(pair, rows), x, seed=0)
        if _is_continuous(z):
            codes[name] = torch.stack(_joined(z).chunk(2))  # [2, N, D]
            draws[name] = _joined(in_blocks(lambda rows, pair=run.vae: sample_latents(pair, rows), x, seed=1))
    blocks = []
    if codes:
        draw_codes(codes, draws, out / "codes.png")
        caption = (
            "Codes of training data against the prior, in the plane that tells data apart best. Marked, if any: where one holds 80% of "
            "its mass and the other has a tenth of that density at most. A hole seen here is one; others may not show in a plane."
        )
        blocks.append(page.figure(out / "codes.png", caption))
    if len(codes) < len(runs):
        discrete = ", ".join(name for name in runs if name not in codes)
        blocks.append(page.paragraph(f"No plane of codes and no walks where latents are discrete: {discrete}."))
    return blocks


def _is_continuous(codes: Values) -> bool:
    return all(values.is_floating_point() for values in (codes.values() if isinstance(codes, dict) else [codes]))


def _joined(codes: Values) -> Tensor:
    values = codes.values() if isinstance(codes, dict) else [codes]
    return torch.cat([part.reshape(len(part), -1) for part in values], dim=1)  # [N, D]


def _diagnosed(runs: Mapping[str, Run]) -> dict[str, Diagnosis]:
    """Diagnoses on training data, where every code can be scored under every datum's q(z|x) in seconds."""
    shown = {name: random_rows(seen_by_model(run.data), _NUM_CODES, seed=0) for name, run in runs.items()}
    return {
        name: diagnose(runs[name].vae, x, progress=False)
        for name, x in shown.items()
        if len(x) >= _LEAST_DIAGNOSED and _has_matrix_form(runs[name].vae, x)
    }


def _diagnoses(diagnoses: Mapping[str, Diagnosis], names: list[str], out: Path) -> list[str]:
    blocks = []
    if diagnoses:
        columns = {name: _with_errors(diagnosis.to_frame()) for name, diagnosis in diagnoses.items()}
        meanings = pd.concat([diagnosis.to_frame()["note"] for diagnosis in diagnoses.values()]).drop_duplicates()
        caption = "What the KL is made of, and how far prior and codes agree, on training data; nats where not said otherwise."
        blocks.append(page.table(pd.DataFrame(columns).fillna(""), caption))
        blocks.append(page.notes([f"{figure}: {note}" for figure, note in meanings.items()]))
    kls = {name: kl for name, diagnosis in diagnoses.items() if len(kl := _dimension_kls(diagnosis))}
    if kls:
        draw_dimension_kl(kls, out / "dimension-kl.png")
        blocks.append(page.figure(out / "dimension-kl.png", "KL of each latent dimension; those near zero are unused."))
    if len(diagnoses) < len(names):
        rest = ", ".join(name for name in names if name not in diagnoses)
        blocks.append(page.paragraph(f"Not diagnosed here, for lack of data or of a quick density: {rest}. Use pyro-lvm diagnose."))
    return blocks


def _has_matrix_form(pair: object, x: Tensor) -> bool:
    with scoring(pair, x.device):
        return is_matrix_form(pair, (x[:2],))


def _with_errors(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(map(format_with_error, frame["value"], frame["se"]), frame.index)


def _dimension_kls(diagnosis: Diagnosis) -> pd.DataFrame:
    return pd.DataFrame({"value": diagnosis.dimension_kls.tolist(), "se": diagnosis.dimension_kl_errors.tolist()})


def _training(folders: Mapping[str, Path], fits: pd.DataFrame, out: Path) -> list[str]:
    draw_history({name: read_history(folder) for name, folder in folders.items()}, out / "curves.png")
    curves = "Loss over the epochs."
    return [page.figure(out / "curves.png", curves), page.table(fits, "What each model was given and used.")]
