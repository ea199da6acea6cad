"""Rows and what a pair is given beside them, read as those of a data set were: by names, with the same codes and categories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inference.data.columns import some
from inference.data.conversion import checked
from inference.data.given import MISSING, TOTAL, totals
from inference.data.load import Data
from inference.data.tables.choice import given_values, plain_numbers
from inference.data.tables.coding import code
from inference.data.tables.frames import checked_names
from pyro_lvm.arrays import as_tensor
from pyro_lvm.reading import Splits
from pyro_lvm.rows.lazy import plain
from pyro_lvm.rows.values import Held
from pyro_lvm.scopes import belongings

NEW_TABLE = "the table of new rows"  # in errors
MANY = 3  # names of columns that an error lists


@dataclass(frozen=True, eq=False)
class TableReader:
    """Reads tables of pandas as the rows of a data set were read: columns by name, in any order, with the codes of the data.

    Args:
        data: The data set, whose rows are not needed.
    """

    data: Data

    def __call__(self, table: pd.DataFrame, others: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what a pair is called with for the rows of a table.

        Args:
            table: The rows. Columns that the data left out may be there, and are left out.
            others: What the pair is given besides; if empty, it is taken from the table.

        Raises:
            ValueError: If columns are missing or unknown, a cell has a value that its column has not, or the data were treated, as gray
                levels are.
        """
        if self.data.treatment.name is not None:
            raise ValueError(
                f"{NEW_TABLE} must be treated as {self.data.name} was: {self.data.treatment.said}. Pass read_rows(data, table) with them."
            )
        values, given = read_by_names(NEW_TABLE, checked_names(table, NEW_TABLE), self.data)
        x = as_tensor(values, NEW_TABLE).reshape(len(values), *self.data.train.shape[1:])
        return (x, *(others or given_alike(NEW_TABLE, given, self.data, x).values()))

    def check(self, data: Splits) -> None:
        """Check that the columns and codes of a data set are the same.

        Raises:
            ValueError: If they are not, so that its numbers mean something else.
        """
        if not isinstance(data, Data) or data.columns is None:
            return
        _check_columns(data.name, data.columns, self.data)
        for column, place in zip(data.columns, self.data.columns or (), strict=True):
            if column != place:
                raise ValueError(
                    f"{data.name} must have its columns in the order of the data that the pair is made for or fitted to, as it hands "
                    f"out numbers without names; {column} is in the place of {place}. Pass the table itself, which is read by names."
                )
        for name, own, other in zip(data.columns, _values(self.data), _values(data), strict=True):
            if own != other:
                raise ValueError(
                    f"{data.name} must have the codes of the data that the pair is made for or fitted to; column {name} has codes of "
                    f"{some(own, MANY) or 'no values'} there, and of {some(other, MANY) or 'no values'} here. Pass the table itself, or "
                    "read_rows(data, table) with those data."
                )


def _values(data: Data) -> list[tuple[str, ...]]:
    """What the codes of each column stand for; nothing if they stand for themselves, as all other numbers do."""
    values = [column.values for column in data.kinds] if data.kinds is not None else [()] * len(data.columns or ())
    return [() if each == tuple(map(str, range(len(each)))) else each for each in values]


def remember_reading(pair: object, data: object) -> None:
    """Make a pair read tables with names of columns as a data set was read that it is made for or fitted to."""
    if isinstance(data, Data):
        belongings(pair).reader = _reader(data)


def _reader(data: Data) -> TableReader | None:
    """What reads tables as a data set was read; None if its columns have no names."""
    if data.columns is None:
        return None
    none = torch.empty(0, *data.train.shape[1:])
    given = {name: {"test": _one(values["test"])} for name, values in data.given.items()}
    return TableReader(replace(data, train=none, valid=none, test=none, transform=None, labels=None, given=given))


def _one(values: Tensor) -> Tensor:
    """One of the values ``[N, ...]``, which is a category unless all are missing."""
    return values[values.argmax()][None] if values.dim() == 1 else values[:1].clone()


def read_by_names(name: str, frame: pd.DataFrame, data: Data) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Read a table as that of a data set was read: by the names of the columns, in any order, and with their codes.

    Columns that the data left out may be there, and are left out. Columns are in the order of the table only if those of the data have no
    names.

    Args:
        name: What the table is called in errors.
        frame: The table, whose columns have names.
        data: The data set.

    Returns:
        The rows ``[N, D]``, with NaN in missing cells, and columns that a pair is given, ``[N]``, by name.

    Raises:
        ValueError: If columns are missing or unknown, or a cell has a value that its column has not.
    """
    names = [column for column in frame.columns if column not in {*data.left_out, *data.given}]
    _check_columns(name, names, data)
    given = {one: given_values(frame[one], data.words.get(one), name) for one in data.given if one in frame}
    if data.kinds is not None:
        return code(frame, data.kinds, name, is_new=True), given
    return plain_numbers(frame[list(data.columns or names)], name), given


def _check_columns(name: str, columns: Sequence[str], data: Data) -> None:
    """Check that columns, each of another name, are those of a data set in any order, if these have names."""
    expected = data.columns
    if expected is None or set(columns) == set(expected):
        return
    missing, more = [c for c in expected if c not in columns], [c for c in columns if c not in expected]
    said = [*([f"it lacks {some(missing, MANY)}"] if missing else []), *([f"it also has {some(more, MANY)}"] if more else [])]
    raise ValueError(f"{name} must have the {len(expected)} columns of {data.name}; {' and '.join(said)}. Add, rename or drop columns.")


def given_alike(name: str, values: Mapping[str, np.ndarray], data: Data, x: Tensor) -> dict[str, Tensor]:
    """Return what a pair is given beside rows: categories, int64 ``[N]``, and covariates, float32 ``[N, *C]``.

    A label that was missing in all test data may be missing in new rows, too: it is -1. A total is computed, unless the file holds one.

    Args:
        name: What the rows are called in errors.
        values: What the file of the rows holds, by name.
        data: The data set that the pair was fitted to.
        x: The rows, ``[N, *X]``.

    Raises:
        ValueError: If something is not there, has another number or shape of rows, or is none of the categories.
    """
    found = dict(values)
    if TOTAL in data.given and TOTAL not in found:
        found |= totals({TOTAL: Held(plain(x).numpy())}, name)
    return {condition: _alike(f"{name}: {condition}", found.get(condition), condition, data, len(x)) for condition in data.given}


def _alike(name: str, values: np.ndarray | None, condition: str, data: Data, num_rows: int) -> Tensor:
    own = data.given[condition]
    if values is None and condition in data.num_categories and bool((own["test"] == MISSING).all()):
        return torch.full((num_rows,), MISSING)
    if values is None:
        raise ValueError(
            f"{name} must be in the file beside the rows, as the pair is given it; got none. Add a column or array of that name."
        )
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers, as those of {data.name} are; got {values[:1].tolist()}. Code them in the same way.")
    numbers, row_shape = checked(values, name).whole(), tuple(own["test"].shape[1:])
    if numbers.shape in ((num_rows,), (num_rows, 1)) and row_shape in ((), (1,)):
        numbers = numbers.reshape(num_rows, *row_shape)
    if numbers.shape != (num_rows, *row_shape):
        raise ValueError(f"{name} must have shape {(num_rows, *row_shape)}; got {numbers.shape}. Give one value for each row.")
    if condition in data.num_categories:
        return _as_categories(name, numbers, data.num_categories[condition])
    return torch.from_numpy(numbers.astype(np.float32))


def _as_categories(name: str, numbers: np.ndarray, count: int) -> Tensor:
    is_one = (numbers == np.rint(numbers)) & (numbers >= MISSING) & (numbers < count)
    if not is_one.all():
        wrong = numbers[~is_one][0]
        raise ValueError(
            f"{name} must be whole numbers from 0 to {count - 1}, as those of the run are, or {MISSING} if missing; got {wrong:g}."
        )
    return torch.from_numpy(numbers.astype(np.int64))
