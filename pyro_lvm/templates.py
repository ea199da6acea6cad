"""A few rows of the last batch that each pair was checked on, by which later calls know what its arguments look like."""

from typing import Any, NamedTuple
from weakref import ref

from torch import Tensor

_NUM_ROWS = 4
_TEMPLATES: dict[int, tuple[ref, "Template"]] = {}


class Template(NamedTuple):
    """What is known of a pair since it was last checked.

    Attributes:
        rows: The first rows of the batch, at most four.
        structure: The structure of the pair, a :class:`pyro_lvm.contract.Structure`.
    """

    rows: tuple[Tensor, ...]
    structure: Any


def remember_template(pair: object, batch: tuple[Tensor, ...], structure: object) -> None:
    """Keep the first rows of a batch, and the structure found on it, for as long as the pair exists."""
    key = id(pair)
    template = Template(tuple(x[:_NUM_ROWS].detach().clone() for x in batch), structure)
    _TEMPLATES[key] = ref(pair, lambda _: _TEMPLATES.pop(key, None)), template


def template_of(pair: object) -> Template | None:
    """Return what the last check of this very pair left, or None if it was never checked."""
    owner, template = _TEMPLATES.get(id(pair), (lambda: None, None))
    return template if owner() is pair else None
