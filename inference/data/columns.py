"""Columns of a table: what their numbers are."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["real", "count", "ordinal", "category", "binary"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its name.
        kind: What its numbers are: real numbers; counts 0, 1, ...; or the codes 0 to V - 1 of values that are ordered, not ordered, or
            only two. A missing cell is NaN.
        values: What the codes stand for, in their order; empty for real numbers and counts.
    """

    name: str
    kind: Kind
    values: tuple[str, ...] = ()
