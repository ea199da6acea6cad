"""The part of a report that shows what the models make, and measures how much it looks like data."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from inference import page
from inference.features import default_features
from inference.pictures import are_images, draw_images
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
from inference.runs import Run, random_rows
from inference.text import decode_text
from inference.verbs import Values, decode, encode, interpolate, reconstruct, sample_prior

NUM_IMAGES, NUM_TEXTS = 20, 5
_MOST_TRAINING, _MOST_SAMPLES = 10_000, 2000


def made(runs: Mapping[str, Run], out: Path) -> list[str]:
    """What the models make: pictures of images, lines of text."""
    shown = {name: random_rows(run.data.test, NUM_IMAGES, seed=0) for name, run in runs.items()}
    data = next(iter(runs.values())).data
    shape = data.test.shape[1:]
    if data.alphabet is not None:
        return _texts(runs, shown, data.alphabet)
    if not are_images(shape):
        return [page.paragraph(f"No pictures of samples: data of shape {tuple(shape)} are no images.")]
    return _images(runs, shown, out)


def _texts(runs: Mapping[str, Run], shown: Mapping[str, Tensor], alphabet: str) -> list[str]:
    """Lines of draws, and of test data beside what was drawn from their codes."""
    first = {name: x[:NUM_TEXTS] for name, x in shown.items()}
    samples = {name: sample_prior(run.vae, first[name], seed=0) for name, run in runs.items()}
    mirrored = {name: reconstruct(run.vae, first[name], seed=0, draws=True) for name, run in runs.items()}
    data = {"test data": next(iter(first.values()))}
    return [
        _lines(data | samples, alphabet, "Draws from each prior, decoded; above them test data."),
        _lines(data | mirrored, alphabet, "Test data, encoded and decoded to draws."),
    ]


def _lines(windows: Mapping[str, Tensor], alphabet: str, caption: str) -> str:
    lines = [(name, line.replace("\n", "⏎")) for name, codes in windows.items() for line in decode_text(codes, alphabet)]
    names, texts = zip(*lines, strict=True)
    return page.table(pd.DataFrame({"text": texts}, index=names), caption, is_prose=True)


def _images(runs: Mapping[str, Run], shown: Mapping[str, Tensor], out: Path) -> list[str]:
    x = next(iter(shown.values()))
    samples = {name: sample_prior(run.vae, shown[name], seed=0, means=run.has_means) for name, run in runs.items()}
    mirrored = {name: reconstruct(run.vae, shown[name], seed=0, draws=not run.has_means) for name, run in runs.items()}
    walks = {name: walk for name, run in runs.items() if (walk := _walks(run, shown[name])) is not None}
    pictures = {
        "samples": ({"test data": x} | samples, "Draws from each prior, decoded to means (of categories, to draws); above them test data."),
        "reconstructions": ({"test data": x} | mirrored, "Test data, encoded and decoded alike."),
        "walks": (walks, "Two walks through latent space, each from one test datum to another: these are its ends."),
    }
    blocks = []
    for name, (rows, caption) in pictures.items():
        if rows:
            same_shape = {label: images.reshape(-1, *x.shape[1:]) for label, images in rows.items()}
            draw_images(same_shape, out / f"{name}.png", title=name.capitalize())
            blocks.append(page.figure(out / f"{name}.png", caption))
    return blocks


def _walks(run: Run, x: Tensor) -> Tensor | None:
    """Two walks of ten images, data at both ends; None where there is nothing to walk in or between."""
    codes = encode(run.vae, x, seed=0)
    if not is_continuous(codes) or len(x) < 4:
        return None
    steps = NUM_IMAGES // 2 - 2
    strips = []
    for start in (0, 2):
        decoded = decode(run.vae, _between(codes, start, steps), x[:1].expand(steps, *x.shape[1:]), seed=0, draws=not run.has_means)
        strips += [x[start, None], decoded, x[start + 1, None], torch.full_like(x[:1], float(x.max()))]
    return torch.cat(strips[:-1])


def _between(codes: Values, start: int, num_steps: int) -> Values:
    if isinstance(codes, dict):
        return {name: _between(values, start, num_steps) for name, values in codes.items()}
    return interpolate(codes[start], codes[start + 1], num_steps)


def judged(runs: Mapping[str, Run]) -> tuple[str, dict[str, SampleQuality]]:
    """The feature space, and samples and reconstructions of validation data, as many each, against test data; or why there are none."""
    data = next(iter(runs.values())).data
    if data.alphabet is not None:
        return "The quality of text is not measured: its codes are names, which have no distances.", {}
    size = min(len(data.valid), len(data.test), _MOST_SAMPLES)
    if size < MIN_ROWS:
        return f"Too few data to judge samples: {MIN_ROWS} held out are needed.", {}
    train, labels = seen_by_model(data), data.labels and data.labels["train"]
    rows = random_rows(torch.arange(len(train)), _MOST_TRAINING, seed=0)
    features = default_features(train[rows], labels if labels is None else labels[rows])
    real = random_rows(data.test, size, seed=0)
    samples = {"real data": random_rows(data.valid, size, seed=1)}
    for name, run in runs.items():
        made = pair_samples(run.vae, random_rows(run.data.valid, size, seed=1))
        samples |= {f"{name}: {kind}": x.reshape(real.shape) for kind, x in made.items()}
    return features.description, {name: sample_quality(x, real, features) for name, x in samples.items()}


def quality_blocks(qualities: Mapping[str, SampleQuality], features: str, out: Path) -> list[str]:
    if not qualities:
        return [page.paragraph(features)]
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
        page.table(with_names(format_quality(table)), caption),
        page.table(with_names(format_quality(quality_differences(pairs))), price),
        page.notes([f"Feature space: {features}; neighbours in a ball: {real.neighbours}."]),
    ]


def with_names(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns=lambda name: "Fréchet distance" if name == "frechet" else name)


def is_continuous(codes: Values) -> bool:
    return all(values.is_floating_point() for values in (codes.values() if isinstance(codes, dict) else [codes]))
