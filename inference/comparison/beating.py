"""Whether models beat the yardsticks beside them: classical models with exact scores, fitted to the same data."""

from collections.abc import Collection, Iterator, Mapping
from math import isnan
from typing import Protocol

from inference.formatting import format_with_error
from inference.scoring.evaluation import Evaluation


class Gap(Protocol):
    """A difference of two means of log p(x), as between models or between recipes."""

    @property
    def mean(self) -> float: ...

    @property
    def standard_error(self) -> float: ...

    @property
    def is_clear(self) -> bool: ...


def best_yardstick(scores: Mapping[str, Evaluation], yardsticks: Collection[str]) -> str | None:
    """Return the name of the yardstick with the highest log p(x), or None if there is none."""
    return max(yardsticks, key=lambda name: scores[name].mean, default=None)


def not_beaten(gaps: Mapping[str, Gap], bounds: Collection[str], yardstick: str) -> Iterator[str]:
    """Say which models do not beat a yardstick, and by how much.

    Args:
        gaps: The difference from the yardstick of every model, or recipe, by name.
        bounds: Names of those of which only a lower bound is known.
        yardstick: The best yardstick, in words.

    Yields:
        A sentence for every model that is not clearly above the yardstick, or one sentence if all are.
    """
    best = f"{yardstick}, the best yardstick"
    behind = {name: gap for name, gap in gaps.items() if not (gap.is_clear and gap.mean > 0)}
    for name, gap in behind.items():
        amount = f"{format_with_error(abs(gap.mean), gap.standard_error)} nats {'below' if gap.mean < 0 else 'above'}"
        if gap.is_clear:
            yield f"{name} is {amount} {best}{', if only by its lower bound' if name in bounds else ''}."
        else:
            why = "one datum has no interval" if isnan(gap.standard_error) else "the 95% interval of the difference includes zero"
            yield f"{name} cannot be told apart from {best}: it is {amount}, and {why}."
    if gaps and not behind:
        who = "Every model is" if len(gaps) > 1 else f"{next(iter(gaps))} is"
        yield f"{who} above {best}: the 95% interval of the paired difference excludes zero."


def in_words(name: str, yardsticks: Mapping[str, str]) -> str:
    """Return a yardstick's name with what it was fitted with."""
    return f"{name} {yardsticks[name]}".rstrip()
