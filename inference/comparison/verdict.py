"""A comparison in words: which model is best, by how much, and whether that can be trusted."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan

import pandas as pd

from inference.comparison.beating import Gap, best_yardstick, in_words, not_beaten
from inference.comparison.differences import Difference, heavy_tail, paired
from inference.comparison.recipes import RecipeDifference, compare_recipes, difference_of
from inference.comparison.table import ONE_FIT, Comparison, compare
from inference.formatting import format_bias, format_error, format_share, format_with_error
from inference.scoring.evaluation import Evaluation

MOST = 0.5


def verdict(
    scores: Mapping[str, Evaluation],
    groups: Mapping[str, Sequence[str]] | None = None,
    yardsticks: Mapping[str, str] | None = None,
) -> list[str]:
    """Say in sentences which model is best, by how much, how it stands to the yardsticks, and how far the figures can be trusted.

    Args:
        scores: Evaluations by the names of the models, and of the yardsticks.
        groups: Names of the fits of each recipe, by its name, if recipes are to be compared; one at least has several fits.
        yardsticks: Names of the yardsticks, with what each was fitted with, as for :func:`inference.comparison.table.compare`.

    Raises:
        ValueError: As for :func:`inference.comparison.table.compare`.
    """
    yardsticks = yardsticks or {}
    models = {name: score for name, score in scores.items() if name not in yardsticks}
    table = compare(models)
    if groups is None:
        beside = against_yardsticks(scores, {name: [name] for name in models}, yardsticks)
        return [*_ranking(table), *beside, *_trust(scores, table)]
    recipes = compare_recipes({name: [scores[fit] for fit in fits] for name, fits in groups.items()})
    return [*_ranking_of_recipes(recipes, groups, table), *against_yardsticks(scores, groups, yardsticks), *_trust(scores, table)]


def against_yardsticks(
    scores: Mapping[str, Evaluation], groups: Mapping[str, Sequence[str]], yardsticks: Mapping[str, str]
) -> Iterator[str]:
    """Say which models or recipes do not beat the best yardstick, which would be the same with any seed."""
    best = best_yardstick(scores, yardsticks)
    if best is None:
        return
    gaps: dict[str, Gap] = {}
    for name, fits in groups.items():
        of_fits, one = [scores[fit] for fit in fits], scores[best]
        gaps[name] = paired(of_fits[0], one) if len(fits) == 1 else difference_of(of_fits, [one, one])
    bounds = [name for name, fits in groups.items() if any(scores[fit].is_bound for fit in fits)]
    yield from not_beaten(gaps, bounds, in_words(best, yardsticks))


def _ranking(table: Comparison) -> Iterator[str]:
    best, row = table.index[0], table.iloc[0]
    sign = "at least" if row["is_bound"] else "="
    score = f"log p(x) {sign} {format_with_error(row['log_px'], row['se'])} nats per datum"
    if len(table) == 1:
        yield f"{best} has {score}; there is nothing to compare it with."
        return
    differences: dict[str, Difference] = table.attrs["differences"]
    is_sure = all(gap.is_clear for gap in differences.values()) and not table["is_bound"].any() and not (table["bad_k"] > MOST).any()
    verb = "is best" if is_sure else "comes first"
    yield f"{best} {verb}, with {score}."
    if ahead := {name: gap for name, gap in differences.items() if gap.is_clear}:
        yield f"It is ahead of {_listed(ahead)}: the 95% interval of the paired difference excludes zero, biases allowed for."
    if biased := {name: gap for name, gap in differences.items() if gap.exceeds_scatter and not gap.is_clear}:
        yield f"Its lead over {_listed(biased)} exceeds that interval, but not what the biases of the estimates may explain: draw more."
    if alike := {name: gap for name, gap in differences.items() if not gap.exceeds_scatter}:
        is_single = any(isnan(gap.standard_error) for gap in alike.values())
        why = "one datum has no interval" if is_single else "the 95% interval of the paired difference includes zero"
        yield f"It cannot be told apart from {_listed(alike)}: {why}."
    for name, gap in differences.items():
        if note := heavy_tail(gap):
            yield f"{best} and {name}: {note}"
    yield ONE_FIT


def _ranking_of_recipes(recipes: Comparison, groups: Mapping[str, Sequence[str]], table: Comparison) -> Iterator[str]:
    best, row = recipes.index[0], recipes.iloc[0]
    differences: dict[str, RecipeDifference] = recipes.attrs["differences"]
    is_sure = all(gap.is_clear for gap in differences.values()) and not table["is_bound"].any() and not (table["bad_k"] > MOST).any()
    sign = "at least" if table.loc[list(groups[best]), "is_bound"].any() else "="
    score = f"log p(x) {sign} {format_with_error(row['log_px'], row['se'])} nats per datum, {_over_fits(row)}"
    if not differences:
        yield f"{best} has {score}; there is no other recipe to compare it with."
        return
    yield f"{best} {'is best' if is_sure else 'comes first'}, with {score}."
    known = {name: gap for name, gap in differences.items() if not isnan(gap.standard_error)}
    if ahead := {name: gap for name, gap in known.items() if gap.is_clear}:
        yield f"It is ahead of {_listed(ahead)}: the 95% interval of the difference of the recipes, over data and seeds, excludes zero."
    if alike := {name: gap for name, gap in known.items() if not gap.is_clear}:
        yield (
            f"It cannot be told apart from {_listed(alike)}: the 95% interval of the difference of the recipes, over data and seeds and "
            "with biases allowed for, includes zero."
        )
    if unknown := [name for name in differences if name not in known]:
        amounts = _joined([f"{name} (by {format_with_error(-differences[name].mean, differences[name].data_error)})" for name in unknown])
        yield f"Over {amounts}, its lead has an error over the data only: a recipe with a single fit has no scatter over seeds."


def _over_fits(row: pd.Series) -> str:
    if row["fits"] == 1:
        return "of a single fit; another seed may differ by more"
    return f"the mean of {row['fits']:.0f} fits with different seeds, whose standard deviation is {format_error(row['fit_sd'])}"


def _listed(differences: Mapping[str, Difference] | Mapping[str, RecipeDifference]) -> str:
    return _joined([f"{name} (by {format_with_error(-gap.mean, gap.standard_error)})" for name, gap in differences.items()])


def _trust(scores: Mapping[str, Evaluation], table: Comparison) -> Iterator[str]:
    if fitted := list(table.attrs["fitted"]):
        partly = "" if all(score.num_fitted in (0, len(score.log_px)) for score in scores.values()) else "partly "
        rows = f"rows that {_joined(fitted)} {'was' if len(fitted) == 1 else 'were'} fitted to"
        yield f"These scores are {partly}of {rows}, where more flexible models score higher: they say little of other data."
    bounds = list(table.index[table["is_bound"]])
    if bounds:
        yield f"For {_joined(bounds)}, only a lower bound on log p(x) is known, so the true differences may be larger or smaller."
    if biases := [f"{name} {format_bias(bias)}" for name, bias in table["bias"].items() if bias and not isnan(bias)]:
        yield f"Estimated biases in nats, which are not subtracted: {', '.join(biases)}."
    sampled = [name for name in table.index if name not in bounds and not scores[name].is_exact]
    if table["bad_k"][sampled].isna().any():
        yield "Twenty draws or fewer are too few to tell whether an estimate is reliable: evaluate with more."
    if (shares := table["bad_k"][sampled].dropna()).size:
        yield from _marks(shares, table.attrs["num_data"])


def _marks(shares: pd.Series, size: int) -> Iterator[str]:
    if not shares.any():
        yield "Pareto k-hat finds no datum whose estimate is unreliable."
        return
    worst = ", ".join(f"{name} {format_share(share, size)}" for name, share in shares.items())
    yield f"By Pareto k-hat, the estimate is unreliable, most often too low, for part of the data: {worst}."
    if mostly := list(shares.index[shares > MOST]):
        yield f"That is most of the data for {_joined(mostly)}: read the figure as a lower bound, or draw more."


def _joined(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
