"""Pictures of how far estimates of log p(x) can be trusted."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
from torch import Tensor

from inference.drawing import DPI, colors_of, label_width, save
from inference.scoring.evaluation import Evaluation
from inference.scoring.pareto import pareto_k_threshold

_NUM_BINS = 30


def draw_reliability(scores: Mapping[str, Evaluation], path: Path) -> None:
    """Draw the distributions of Pareto k-hat and of the effective sample size over the data.

    Args:
        scores: Estimates by the names of the models; bounds have neither figure.
        path: File to write.
    """
    figure = Figure(figsize=(7.2 + label_width(scores), 3.4), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, field in ((left, "pareto_k"), (right, "ess")):
        values = {name: _known(getattr(score, field)) for name, score in scores.items()}
        _draw_histograms(axes, values, logarithmic=field == "ess")
    for num_particles in {score.num_particles for score in scores.values()}:
        if num_particles >= 10:
            left.axvline(pareto_k_threshold(num_particles), color="0.4", linestyle="--", linewidth=1)
    left.set(xlabel="Pareto k-hat", ylabel="number of data")
    left.set_title("Right of the dashed line: unreliable", loc="left", fontsize="medium")
    right.set(xlabel="effective sample size (draws)")
    right.set_title(f"Out of K = {_counts(scores)} draws", loc="left", fontsize="medium")
    figure.legend(*right.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    save(figure, path)


def _draw_histograms(axes: Axes, values: Mapping[str, np.ndarray], *, logarithmic: bool) -> None:
    pooled = np.concatenate(list(values.values()))
    axes.spines[["top", "right"]].set_visible(False)
    if not len(pooled):
        axes.text(0.5, 0.5, "too few draws for k-hat", transform=axes.transAxes, ha="center", color="0.4")
        axes.set(xticks=[], yticks=[])
        return
    low, high = pooled.min(), pooled.max()
    edges = np.geomspace(max(low, 1), max(high, 2, 1.01 * low), _NUM_BINS) if logarithmic else np.linspace(low, high + 1e-9, _NUM_BINS)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    for (name, one), color in zip(values.items(), colors_of(values), strict=True):
        axes.stairs(np.histogram(one.clip(edges[0], edges[-1]), edges)[0], edges, color=color, linewidth=1.5, label=name)


def _known(values: Tensor) -> np.ndarray:
    return values[values.isfinite()].numpy()


def _counts(scores: Mapping[str, Evaluation]) -> str:
    return ", ".join(map(str, sorted({score.num_particles for score in scores.values()})))
