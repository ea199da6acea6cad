"""The part of a report on log-likelihoods: of fits, of recipes, and how far the estimates can be trusted."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from inference.comparison.table import Comparison
from inference.drawing import save_axes
from inference.formatting import format_error, format_interval, format_share, format_with_error
from inference.plots.curves import plot_curve
from inference.plots.differences import plot_comparison
from inference.report.html import Block, Notes, Paragraph, Picture, Table
from inference.report.plots.reliability import draw_reliability
from inference.report.words import in_words
from inference.scoring.evaluation import Evaluation


def score_blocks(table: Comparison, recipes: Comparison | None, out: Path) -> list[Block]:
    """The scores of all models and their differences; those of recipes first, if there are several fits of any."""
    blocks: list[Block] = []
    if recipes is not None:
        caption = "Recipes, in nats per datum: means over fits with different seeds, with standard errors; best recipe first."
        blocks += [Table(_of_recipes(recipes), caption), Notes([in_words(note, _names(table, recipes)) for note in recipes.notes])]
        if len(recipes) > 1:
            blocks.append(_differences(recipes, "Differences in mean log p(x) from the best recipe, over data and seeds.", out))
    caption = "Nats per datum, with standard errors over the data; best model first."
    fits = caption if recipes is None else f"The single fits, which were compared with the best one. {caption}"
    blocks += [Table(_of_fits(table), fits), Notes([in_words(note, _names(table, recipes)) for note in table.notes])]
    if len(table) > 1 and recipes is None:
        blocks.append(_differences(table, "Paired differences in log p(x) from the best model.", out))
    return blocks


def _names(table: Comparison, recipes: Comparison | None) -> list[str]:
    return [*table.index, *([] if recipes is None else recipes.index)]


def _differences(table: Comparison, caption: str, out: Path) -> Picture:
    save_axes(plot_comparison(table), out / "differences.png")
    return Picture(out / "differences.png", caption)


def _of_recipes(table: Comparison) -> pd.DataFrame:
    size, is_best = table.attrs["num_data"], table.index == table.index[0]
    return pd.DataFrame(
        {
            "log p(x)": map(format_with_error, table["log_px"], table["se"]),
            "fits": table["fits"].map(str),
            "standard deviation over fits": map(format_error, table["fit_sd"]),
            "difference": map(format_with_error, table["difference"], table["difference_se"]),
            "its error over data": map(format_error, table["data_se"]),
            "its error over fits": map(format_error, table["fits_se"]),
            "95% interval": map(format_interval, table["lower"].mask(is_best), table["upper"], table["difference_se"].fillna(0)),
            "unreliable data, at most": [format_share(share, size) for share in table["bad_k"]],
        },
        index=table.index,
    )


def _of_fits(table: Comparison) -> pd.DataFrame:
    printed = table.formatted()
    return pd.DataFrame(
        {
            "log p(x)": map(format_with_error, table["log_px"], table["se"]),
            "difference": map(format_with_error, table["difference"], table["difference_se"]),
            "ELBO": map(format_with_error, table["elbo"], table["elbo_se"]),
            "error of the draws": printed["mc_error"],
            "bias": printed["bias"],
            "unreliable data": printed["bad_k"],
            "draws per datum": printed["num_particles"].replace("exact", ""),
            "log p(x) is": [_kind(name, table) for name in table.index],
        },
        index=table.index,
    )


def _kind(name: str, table: Comparison) -> str:
    if name in table.attrs["exact"]:
        return "exact"
    return "a lower bound" if table.loc[name, "is_bound"] else "an estimate"


def reliability_blocks(scores: Mapping[str, Evaluation], out: Path) -> list[Block]:
    """Estimates against the number of draws, and the distributions of k-hat and of the effective sample size."""
    save_axes(plot_curve(scores), out / "estimate-vs-particles.png")
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
