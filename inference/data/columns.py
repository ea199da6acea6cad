"""Columns of a table: what their numbers are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Kind = Literal["real", "count", "ordinal", "category", "binary"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NUMBERS: tuple[Kind, ...] = ("real", "count")  # whose cells are the numbers themselves
_NAMED = 40  # columns of a kind that a summary names
_MANY = 5  # names that an error lists


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its name.
        kind: What its numbers are: real numbers; counts 0, 1, ...; or the codes 0 to V - 1 of values that are ordered, not ordered, or
            only two. A missing cell is NaN.
        values: What the codes stand for, in their order; empty for real numbers and counts.
        is_text: Whether the values are words, not numbers.
    """

    name: str
    kind: Kind
    values: tuple[str, ...] = ()
    is_text: bool = False


def kinds_in_words(columns: Sequence[Column]) -> str:
    """Which columns are of which kind, with the number of values of those that are coded."""
    said = []
    for kind in KINDS:
        own = [column for column in columns if column.kind == kind]
        if own:
            named = ", ".join(_in_words(column) for column in own[:_NAMED]) + (", ..." if len(own) > _NAMED else "")
            said.append(f"{len(own)} {kind} ({named})")
    return ", ".join(said)


def _in_words(column: Column) -> str:
    plural = "s" * (len(column.values) != 1)
    return f"{column.name}: {len(column.values)} value{plural}" if column.kind in ("category", "ordinal") else column.name


def some(names: Sequence[Any], most: int = _MANY) -> str:
    """The first of some names, in words."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")


def has(names: Sequence[Any]) -> str:
    """The verb of a sentence about some names."""
    return "has" if len(names) == 1 else "have"
