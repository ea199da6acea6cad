"""The part of a report that shows samples, reconstructions and walks through latent space."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from inference.data.splits import random_batch
from inference.data.text import decode_text
from inference.drawing import save_axes
from inference.plots.images import are_images, plot_samples
from inference.plots.planes import is_continuous
from inference.predictive.draws import Values, decode, encode, of_data, reconstruct, sample_prior
from inference.predictive.interpolation import interpolate
from inference.report.html import Block, Paragraph, Picture, Table
from inference.runs.run import Run
from pyro_lvm.pair import Batch

NUM_IMAGES, NUM_TEXTS = 20, 5


def made(runs: Mapping[str, Run], out: Path) -> list[Block]:
    """Show samples and reconstructions of the models: images as pictures, text as lines."""
    shown = {name: random_batch(run.data.batch("test"), NUM_IMAGES, seed=0) for name, run in runs.items()}
    data = next(iter(runs.values())).data
    shape = data.test.shape[1:]
    if data.alphabet is not None:
        return _texts(runs, shown, data.alphabet)
    if not are_images(shape):
        return [Paragraph(f"No pictures of samples: data of shape {tuple(shape)} are not images.")]
    return _images(runs, shown, out)


def _texts(runs: Mapping[str, Run], shown: Mapping[str, Batch], alphabet: str) -> list[Block]:
    """Lines of prior draws, and of reconstructions, each below test data."""
    first = {name: tuple(x[:NUM_TEXTS] for x in batch) for name, batch in shown.items()}
    samples = {name: of_data(run.pair, sample_prior(run.pair, *first[name], seed=0)) for name, run in runs.items()}
    reconstructions = {name: of_data(run.pair, reconstruct(run.pair, *first[name], seed=0, draws=True)) for name, run in runs.items()}
    data = {"test data": next(iter(first.values()))[0]}
    return [
        _lines(data | samples, alphabet, "Test data, and draws from each prior, decoded."),
        _lines(data | reconstructions, alphabet, "Test data, and the same data encoded and decoded to draws."),
    ]


def _lines(windows: Mapping[str, Tensor], alphabet: str, caption: str) -> Table:
    lines = [(name, line.replace("\n", "⏎")) for name, codes in windows.items() for line in decode_text(codes, alphabet)]
    names, texts = zip(*lines, strict=True)
    return Table(pd.DataFrame({"text": texts}, index=names), caption, is_prose=True)


def _images(runs: Mapping[str, Run], shown: Mapping[str, Batch], out: Path) -> list[Block]:
    x = next(iter(shown.values()))[0]
    samples = {name: of_data(run.pair, sample_prior(run.pair, *shown[name], seed=0, means=run.has_means)) for name, run in runs.items()}
    reconstructions = {
        name: of_data(run.pair, reconstruct(run.pair, *shown[name], seed=0, draws=not run.has_means)) for name, run in runs.items()
    }
    walks = {name: walk for name, run in runs.items() if (walk := _walks(run, shown[name])) is not None}
    pictures: dict[str, tuple[dict[str, Tensor], str]] = {
        "samples": ({"test data": x} | samples, "Test data, and draws from each prior, decoded to means (for categories, to draws)."),
        "reconstructions": ({"test data": x} | reconstructions, "Test data, and the same data encoded and decoded in the same way."),
        "walks": (walks, "Two walks through latent space, each between two test data, which are shown at its ends."),
    }
    blocks: list[Block] = []
    for name, (rows, caption) in pictures.items():
        if rows:
            same_shape = {label: images.reshape(-1, *x.shape[1:]) for label, images in rows.items()}
            save_axes(plot_samples(same_shape), out / f"{name}.png", title=name.capitalize())
            blocks.append(Picture(out / f"{name}.png", caption))
    return blocks


def _walks(run: Run, batch: Batch) -> Tensor | None:
    """Two walks of ten images, with data at both ends; None for discrete latents or fewer than four data.

    What is given to the first datum is given to all images between the two.
    """
    codes, x = encode(run.pair, *batch, seed=0), batch[0]
    if not is_continuous(codes) or len(x) < 4:
        return None
    steps = NUM_IMAGES // 2 - 2
    strips = []
    for start in (0, 2):
        template = tuple(each[start : start + 1].expand(steps, *each.shape[1:]) for each in batch)
        decoded = decode(run.pair, _between(codes, start, steps), *template, seed=0, draws=not run.has_means)
        strips += [x[start, None], of_data(run.pair, decoded), x[start + 1, None], torch.full_like(x[:1], float(x.max()))]
    return torch.cat(strips[:-1])


def _between(codes: Values, start: int, num_steps: int) -> Values:
    if isinstance(codes, dict):
        return {name: interpolate(values[start], values[start + 1], num_steps) for name, values in codes.items()}
    return interpolate(codes[start], codes[start + 1], num_steps)
