"""How often the intervals of an evaluation hold the truth: of one datum, of a mean, of a difference between models.

The model is that of ``tests/known/normal.py``: its weights have a known Pareto shape, and all its data are repetitions of one experiment.
"""

from collections.abc import Iterator
from dataclasses import fields, replace
from math import log, pi

from known.estimators import ESTIMATORS
from known.normal import SCALES, normal
from known.registry import Known
from scipy import stats
import torch
from torch import Tensor

from inference import compare
from inference.formatting import format_share
from inference.scoring.evaluation import Evaluation

LEVEL = 0.95
REPETITIONS = 1000  # data of one experiment; also, means of N of them
POOL, MEANS = 20_000, (10, 100, 1000)
PAIRS, MODELS_APART = (20, 100), 0.5
GUIDES = [
    *({"scale": scale} for scale in SCALES),
    {"scale": 2.0},
    {"shift": 1.0},
    {"shift": 3.0},
    {"scale": 0.6, "shift": 2.0},
]
MEAN_GUIDES = ((1, 0.7), (4, 0.7), (4, 0.5))  # latents, width
NAMES = ("guide", "auto")
Row = tuple[str, ...]


def describe(guide: dict[str, float]) -> str:
    scale, shift = guide.get("scale", 1.0), guide.get("shift", 0.0)
    return f"{scale:g} times the width" + (f", off by {shift:g}" if shift else "") if scale != 1 else f"off by {shift:g}"


def share_covered(score: Evaluation, known: Known) -> str:
    """Of the data that are not marked, the share whose interval holds the truth, and the share that is marked."""
    low, high = score.interval(LEVEL)
    held = ((low <= known.log_px) & (known.log_px <= high))[~score.is_unreliable]
    covered = format_share(float(held.double().mean()), len(held)) if len(held) > 20 else "too few"
    return f"{covered} ({format_share(float(score.is_unreliable.double().mean()), len(known.log_px))} marked)"


def of_data() -> Iterator[Row]:
    """One row for each guide and number of latents: the coverage under each estimator."""
    for latents in (1, 4):
        for guide in GUIDES:
            known = normal(latents, num_data=REPETITIONS, seed=31, **guide)
            scale = guide.get("scale", 1.0)
            k = f"{1 - scale**2:.2f}" if scale < 1 else "0"
            scores = [share_covered(ESTIMATORS[name](known.pair, known.batch, 0), known) for name in NAMES]
            yield f"{latents}", describe(guide), k, *scores


def of_means() -> Iterator[Row]:
    """One row for each guide, estimator and N: how often the mean's interval holds the mean of these data, and of all data."""
    for latents, scale in MEAN_GUIDES:
        known = normal(latents, num_data=POOL, seed=32, scale=scale)
        scores = {name: ESTIMATORS[name](known.pair, known.batch, 0) for name in NAMES}
        for name, score in scores.items():
            for size in MEANS:
                here, everywhere = means_covered(score, known, size, latents)
                yield f"{latents}", f"{1 - scale**2:.2f}", name, f"{size}", here, everywhere
    for latents in sorted({latents for latents, _ in MEAN_GUIDES}):
        known = normal(latents, num_data=POOL, seed=32)
        score = ESTIMATORS["guide"](known.pair, known.batch, 0, num_particles=2)
        for size in MEANS:
            yield f"{latents}", "", "exact", f"{size}", "", means_covered(score, known, size, latents)[1]


def means_covered(score: Evaluation, known: Known, size: int, latents: int) -> Row:
    """Coverage of the mean over these data (error of the draws), and of the expectation over all data (error over the data)."""
    draw = torch.Generator().manual_seed(0)
    everywhere = -latents * (0.5 * log(4 * pi) + 0.5)  # E log N(x | 0, 2), x ~ N(0, 2)
    held = torch.zeros(2)
    for _ in range(REPETITIONS):
        rows = torch.randperm(POOL, generator=draw)[:size]
        truths = (float(known.log_px[rows].mean()), everywhere)
        some = rows_of(score, rows)
        bounds = some.data_interval(LEVEL), some.population_interval(LEVEL)
        held += torch.tensor([low <= truth <= high for truth, (low, high) in zip(truths, bounds, strict=True)])
    return tuple(format_share(float(count) / REPETITIONS, REPETITIONS) for count in held)


def rows_of(score: Evaluation, rows: Tensor) -> Evaluation:
    """An evaluation of some of the data."""
    size = len(score.log_px)
    values = {field.name: getattr(score, field.name) for field in fields(score)}
    return replace(score, **{name: x[..., rows] for name, x in values.items() if isinstance(x, Tensor) and x.shape[-1:] == (size,)})


def of_differences() -> Iterator[Row]:
    """One row for each N: how often the difference of two models lies within two standard errors, in the t interval, and in that stated.

    Data are N(0, 2); one model is right, the other's mean is off by 0.5. The differences are normal, and both guides exact.
    """
    for size in PAIRS:
        known = normal(1, num_data=REPETITIONS * size, seed=33)
        moved = known.batch[0] - MODELS_APART
        right, wrong = (ESTIMATORS["guide"](known.pair, batch, 0, num_particles=2) for batch in (known.batch, (moved,)))
        wrong = replace(wrong, data_id=right.data_id)
        limits = (2.0, float(stats.t.ppf(0.5 + LEVEL / 2, size - 1)))
        held = [within(rows_of(right, rows), rows_of(wrong, rows), limits) for rows in torch.arange(len(moved)).split(size)]
        yield f"{size}", *(format_share(float(share), REPETITIONS) for share in torch.tensor(held).double().mean(0))


def within(first: Evaluation, second: Evaluation, limits: tuple[float, float]) -> list[bool]:
    """Whether the true difference is within these standard errors of that in the table of a comparison, and in the interval stated."""
    truth = MODELS_APART**2 / 4
    table = compare({"first": first, "second": second})
    off = abs(table.loc["first", "difference"] - table.loc["second", "difference"] - truth)
    held = [bool(off <= limit * table["difference_se"].max()) for limit in limits]
    for name, stated in table.attrs.get("differences", {}).items():
        low, high = stated.interval
        held.append(low <= (truth if name == "first" else -truth) <= high)
    return held
