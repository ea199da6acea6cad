"""The part of a report on sample quality: how much samples of the models look like data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from inference.data.splits import random_batch, random_rows
from inference.files import replacing_file
from inference.formatting import spreadsheet_name
from inference.predictive.features import column_features, default_features
from inference.predictive.quality import (
    MIN_ROWS,
    SampleQuality,
    format_quality,
    pair_samples,
    quality_differences,
    quality_table,
    sample_quality,
)
from inference.recipes.build import seen_by_model
from inference.recipes.parts.columns import kinds_of
from inference.report.html import Block, Notes, Paragraph, Table
from inference.runs.run import Run
from pyro_lvm.rows.lazy import plain

_MOST_TRAINING, _MOST_SAMPLES = 10_000, 2000


@dataclass(frozen=True)
class ModelQuality:
    """Quality of one model's prior samples, and of its reconstructions of validation data, compared with test data."""

    reconstructions: SampleQuality
    prior_samples: SampleQuality


@dataclass(frozen=True)
class Judgement:
    """Sample quality of several models, each with the same number of samples and compared with the same test data.

    Attributes:
        features: The feature space or, if nothing was judged, the reason.
        real: Quality of validation data, which perfect samples would reach; None if nothing was judged.
        models: Quality by the names of the models.
    """

    features: str
    real: SampleQuality | None = None
    models: dict[str, ModelQuality] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """All figures with their errors, real data first."""
        rows: dict[str, Any] = {"real data": self.real}
        for name, quality in self.models.items():
            rows |= {f"{name}: reconstructions": quality.reconstructions, f"{name}: prior samples": quality.prior_samples}
        return quality_table(rows)


def judge(runs: Mapping[str, Run]) -> Judgement:
    """Judge samples, and reconstructions of validation data, against test data."""
    data = next(iter(runs.values())).data
    if data.alphabet is not None:
        return Judgement("The quality of text is not measured: codes of characters are labels, without distances between them.")
    if data.kinds is not None and any(bool(plain(x).isnan().any()) for x in (data.train, data.valid, data.test)):
        return Judgement("Samples are not judged: the data have missing cells, and samples have none. Judge those of rows without gaps.")
    size = min(len(data.valid), len(data.test), _MOST_SAMPLES)
    if size < MIN_ROWS:
        return Judgement(f"Too few data to judge samples: at least {MIN_ROWS} validation and {MIN_ROWS} test data are needed.")
    train, labels = seen_by_model(data), None if data.labels is None else data.labels["train"]
    rows = random_rows(torch.arange(len(train)), _MOST_TRAINING, seed=0)
    features = column_features(train[rows], *kinds_of(data.kinds)) if data.kinds is not None else None
    features = features or default_features(train[rows], labels if labels is None else labels[rows])
    real = random_rows(data.test, size, seed=0)
    models = {}
    for name, run in runs.items():
        samples = pair_samples(run.pair, *random_batch(run.data.batch("valid"), size, seed=1))
        both = (sample_quality(samples[kind].reshape(real.shape), real, features) for kind in ("reconstructions", "prior samples"))
        models[name] = ModelQuality(*both)
    return Judgement(features.description, sample_quality(random_rows(data.valid, size, seed=1), real, features), models)


def quality_blocks(judgement: Judgement, out: Path) -> list[Block]:
    """The tables of a report; also writes quality.csv."""
    if judgement.real is None:
        return [Paragraph(judgement.features)]
    table = judgement.table()
    with replacing_file(out / "quality.csv") as temporary:
        table.rename(index=spreadsheet_name).to_csv(temporary)
    differences = quality_differences({name: (model.prior_samples, model.reconstructions) for name, model in judgement.models.items()})
    caption = (
        f"Each row compares {judgement.real.num_samples} samples with {judgement.real.num_real} test data; standard errors come from "
        "random halvings."
    )
    gap = "Prior samples minus reconstructions: what is lost because prior draws are not distributed like codes."
    explanation = (
        "Samples are draws from p(x|z), not means. Real data and reconstructions are of the validation set, so the first row is "
        "what perfect samples would reach. Precision and density measure whether samples look like data, recall and coverage whether "
        "they cover all data. The Fréchet distance is squared; less is better, and it depends on the number of data."
    )
    return [
        Paragraph(explanation),
        Table(with_names(format_quality(table)), caption),
        Table(with_names(format_quality(differences)), gap),
        Notes([f"Feature space: {judgement.features}. Nearest neighbours in a ball: {judgement.real.neighbours}."]),
    ]


def with_names(table: pd.DataFrame) -> pd.DataFrame:
    """A table of figures, with their names as shown to the reader."""
    return table.rename(columns=lambda name: "Fréchet distance" if name == "frechet" else name)
