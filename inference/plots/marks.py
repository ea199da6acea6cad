"""Marks of models whose figures cannot be trusted, in pictures."""

from collections.abc import Iterable

from inference.comparison.verdict import MOST

NOTE = "*: unreliable for most data, by k-hat"


def marked(name: object, bad_k: float) -> str:
    """The name of a model, with a star if k-hat says of most data that their estimates cannot be trusted."""
    return f"{name} *".strip() if bad_k > MOST else str(name)


def with_note(title: str, shares: Iterable[float]) -> str:
    """A title, and what stars mean, if there are any."""
    return f"{title}\n{NOTE}" if any(share > MOST for share in shares) else title
