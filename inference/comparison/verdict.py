"""A comparison in words: which model is best, by how much, and whether that can be trusted."""

from collections.abc import Iterator, Mapping
from math import isnan

from inference.comparison.table import Comparison, compare
from inference.formatting import format_share, format_with_error
from inference.scoring.evaluation import Evaluation
from inference.scoring.reduction import standard_error_of_mean

CLEAR = 2  # standard errors
MOST = 0.5


def verdict(scores: Mapping[str, Evaluation]) -> list[str]:
    """Say in sentences which model is best, by how much, and how far the figures can be trusted.

    Args:
        scores: Evaluations by the names of the models.

    Raises:
        ValueError: As for :func:`inference.comparison.table.compare`.
    """
    table = compare(scores)
    return [*_ranking(table), *_trust(scores, table)]


def _ranking(table: Comparison) -> Iterator[str]:
    best, row = table.index[0], table.iloc[0]
    sign = "at least" if row["is_bound"] else "="
    score = f"log p(x) {sign} {format_with_error(row['log_px'], row['se'])} nats per datum"
    if len(table) == 1:
        yield f"{best} has {score}; there is nothing to compare it with."
        return
    others = table.iloc[1:]
    is_clear = others["difference"].abs() > CLEAR * others["difference_se"]
    is_sure = is_clear.all() and not table["is_bound"].any() and not (table["bad_k"] > MOST).any()
    verb = "is best" if is_sure else "comes first"
    yield f"{best} {verb}, with {score}."
    if is_clear.any():
        yield f"It is ahead of {_listed(others[is_clear])}: more than {CLEAR} standard errors of the paired difference."
    if not is_clear.all():
        yield f"It cannot be told apart from {_listed(others[~is_clear])}: a difference within {CLEAR} standard errors."


def _listed(rows: Comparison) -> str:
    gaps = [f"{name} (by {format_with_error(-row['difference'], row['difference_se'])})" for name, row in rows.iterrows()]
    return _joined(gaps)


def _trust(scores: Mapping[str, Evaluation], table: Comparison) -> Iterator[str]:
    bounds = list(table.index[table["is_bound"]])
    if bounds:
        yield f"For {_joined(bounds)}, only a lower bound on log p(x) is known, so the true differences may be larger or smaller."
    shares = {name: scores[name].bad_k_share for name in table.index if name not in bounds and not scores[name].is_exact}
    known = {name: share for name, share in shares.items() if not isnan(share)}
    if len(known) < len(shares):
        yield "Twenty draws or fewer are too few to tell whether an estimate is reliable: evaluate with more."
    if not known:
        return
    if not any(known.values()):
        yield "Pareto k-hat finds no datum whose estimate is unreliable."
        return
    size = len(next(iter(scores.values())).log_px)
    worst = ", ".join(f"{name} {format_share(share, size)}" for name, share in known.items())
    yield f"By Pareto k-hat, the estimate is unreliable, most often too low, for part of the data: {worst}."
    if mostly := [name for name, share in known.items() if share > MOST]:
        yield f"That is most of the data for {_joined(mostly)}: read the figure as a lower bound, or draw more."
    yield from _on_reliable_data({name: scores[name] for name in known}, table)


def _on_reliable_data(scores: Mapping[str, Evaluation], table: Comparison) -> Iterator[str]:
    """The difference between the first two models on the data that are reliable for both by their k-hat."""
    names = [name for name in table.index if name in scores][:2]
    if len(names) < 2:
        return
    first, second = scores[names[0]], scores[names[1]]
    rows = ~(first.is_unreliable | second.is_unreliable)
    if rows.sum() < 2:
        yield f"Almost no datum has reliable estimates from both {names[0]} and {names[1]}: do not rely on their difference."
        return
    gap = first.log_px[rows] - second.log_px[rows]
    text = format_with_error(float(gap.mean()), standard_error_of_mean(gap))
    share = format_share(float(rows.double().mean()), len(rows))
    yield f"On the {share} of the data that are reliable for both, {names[0]} minus {names[1]} is {text}."


def _joined(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
