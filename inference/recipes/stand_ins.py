"""What must be known of a data set to build its pair and to read other rows as it was read, and rows that stand for its own."""

from collections.abc import Mapping
from dataclasses import asdict
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.data.columns import NUMBERS, Column
from inference.data.given import MISSING
from inference.data.load import Data
from inference.data.treatments import Treatment
from pyro_lvm.rows.lazy import plain
from pyro_lvm.rows.values import parts_of

_MOST = 2**18  # characters
_FEW = 4  # rows


def facts_of(data: Data) -> dict[str, Any] | None:
    """Return what is known of a data set besides its rows, as plain values; None of too many columns.

    These are names of columns and which of them have missing cells, the values of categories, the shape of a row, the
    treatment, and the lowest and the highest value of numbers that are no columns of a known kind.
    """
    facts = {
        "name": data.name,
        "shape": tuple(data.train.shape[1:]),
        "ends": None if data.kinds is not None else _ends(data.train),
        "alphabet": data.alphabet,
        "columns": data.columns,
        "kinds": None if data.kinds is None else [asdict(column) for column in data.kinds],
        "gaps": None if data.kinds is None else plain(data.train).isnan().any(0).tolist(),
        "left_out": data.left_out,
        "treatment": asdict(data.treatment),
        "given": {name: _given_facts(values["test"]) for name, values in data.given.items()},
        "num_categories": data.num_categories,
        "words": {name: asdict(column) for name, column in data.words.items()},
    }
    written = json.dumps(facts)
    return json.loads(written) if len(written) <= _MOST else None


def stand_in(facts: Mapping[str, Any]) -> Data:
    """Return a data set of the same kind with a few rows that are none of its own: every value of a category, and both ends of numbers."""
    columns = None if facts["kinds"] is None else tuple(map(_column, facts["kinds"]))
    sizes = [len(column.values) for column in columns or ()]
    size = max([_FEW, *sizes, *facts["num_categories"].values()]) + 2
    rows = _numbers(facts, size) if columns is None else _cells(columns, facts["gaps"], size)
    given = {name: _given(one, facts["num_categories"].get(name), size) for name, one in facts["given"].items()}
    treatment = facts["treatment"] | {"row_shape": _tuple(facts["treatment"]["row_shape"])}
    return Data(
        name=facts["name"],
        description=f"Rows that stand for those of {facts['name']}.",
        train=rows,
        valid=rows,
        test=rows,
        alphabet=facts["alphabet"],
        given={name: dict.fromkeys(("train", "valid", "test"), values) for name, values in given.items()},
        columns=_tuple(facts["columns"]),
        kinds=columns,
        left_out=tuple(facts["left_out"]),
        treatment=Treatment(**treatment),
        num_categories=facts["num_categories"],
        words={name: _column(column) for name, column in facts["words"].items()},
    )


def _ends(x: Tensor) -> tuple[float, float]:
    """The lowest and the highest value of numbers ``[N, *X]``, a part at a time."""
    ends = [plain(x[int(places[0]) : int(places[-1]) + 1]).aminmax() for places in parts_of(x.shape)]
    return min(float(low) for low, _ in ends), max(float(high) for _, high in ends)


def _given_facts(values: Tensor) -> dict[str, Any]:
    return {"shape": tuple(values.shape[1:]), "is_missing": bool((values == MISSING).all())}


def _given(facts: Mapping[str, Any], count: int | None, size: int) -> Tensor:
    if count is None:
        return _alternating(size, facts["shape"], 0.0, 1.0)
    return torch.full((size,), MISSING) if facts["is_missing"] else torch.arange(size) % count


def _numbers(facts: Mapping[str, Any], size: int) -> Tensor:
    low, high = (0.0, 1.0) if facts["treatment"]["name"] is not None else facts["ends"]
    return _alternating(size, facts["shape"], low, high)


def _alternating(size: int, shape: list[int], low: float, high: float) -> Tensor:
    """Numbers of which neighbours differ, ``[N, *X]``."""
    odd = torch.arange(size)[:, None] + torch.arange(int(np.prod(shape)))
    return (low + (high - low) * (odd % 2).float()).reshape(size, *shape)


def _cells(columns: tuple[Column, ...], gaps: list[bool], size: int) -> Tensor:
    """Cells of a table ``[N, D]``; of the last two rows, one or the other is missing in each column where cells are missing."""
    numbers = [torch.arange(size) % (2 if column.kind in NUMBERS else len(column.values)) for column in columns]
    cells = torch.stack(numbers, dim=1).float()
    places = torch.tensor(gaps).nonzero().flatten()
    cells[size - 1 - places % 2, places] = torch.nan
    return cells


def _column(values: Mapping[str, Any]) -> Column:
    return Column(**{**values, "values": tuple(values["values"])})


def _tuple(values: list | None) -> tuple | None:
    return None if values is None else tuple(values)
