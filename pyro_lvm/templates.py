"""A few rows of the last batch that each pair was checked on, by which later calls know what its arguments look like."""

from typing import NamedTuple

from torch import Tensor

from pyro_lvm.scopes import belongings
from pyro_lvm.structure import Structure

_NUM_ROWS = 4


class Template(NamedTuple):
    """What is known of a pair since it was last checked.

    Attributes:
        rows: The first rows of the batch, at most four.
        structure: The structure of the pair.
    """

    rows: tuple[Tensor, ...]
    structure: Structure


def remember_template(pair: object, batch: tuple[Tensor, ...], structure: Structure) -> None:
    """Keep the first rows of a batch, and the structure found on it, for as long as the pair exists."""
    belongings(pair).template = Template(tuple(x[:_NUM_ROWS].detach().clone() for x in batch), structure)


def template_of(pair: object) -> Template | None:
    """Return what the last check of this very pair left, or None if it was never checked."""
    return belongings(pair).template
