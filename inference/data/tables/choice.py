"""What is asked for of a table, and the table as numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from inference.data.columns import Column, kinds_in_words, some
from inference.data.given import MISSING, held, refuse_conditions
from inference.data.tables.coding import code
from inference.data.tables.doubts import doubts_of_copies, doubts_of_file, doubts_of_table
from inference.data.tables.frames import checked_names, chosen, is_named, read_frame
from inference.data.tables.kinds import find_columns
from inference.data.tables.remedies import drop
from pyro_lvm.arrays import named_table
from pyro_lvm.checks import warn_caller


@dataclass(frozen=True)
class Choice:
    """What is asked for of a table.

    Attributes:
        columns: Columns to keep; all, if None.
        drop: Columns to leave out.
        kinds: Kinds of some columns by name.
        conditions: Columns that are given to the pair.
        is_plain: Whether the table is one of plain numbers, such as gray levels that are to be binarized: no kinds are found.
    """

    columns: Sequence[str] | None = None
    drop: Sequence[str] | None = None
    kinds: Mapping[str, str] | None = None
    conditions: tuple[str, ...] = ()
    is_plain: bool = False

    def refuse(self, source: Any) -> None:
        """Refuse what is asked for of data that are no table with named columns.

        Raises:
            ValueError: If anything is.
        """
        for name in ("columns", "drop", "kinds"):
            if getattr(self, name):
                got = repr(source) if isinstance(source, str | Path) else f"a {type(source).__name__}"
                raise ValueError(
                    f"{name} needs a table that names its columns: a .csv file whose first line has names, a .parquet file or a pandas "
                    f"DataFrame; got {got}. Leave it out, or name the columns."
                )


@dataclass(frozen=True, eq=False)
class Table:
    """A table as numbers.

    Attributes:
        name: Name of the file, or what the source is.
        values: The numbers, ``[N, D]``; NaN where cells are missing, if the columns have kinds.
        columns: Names of the columns.
        kinds: What the numbers of each column are; None if they are plain.
        given: Columns that are given to the pair instead, by name, ``[N]``.
        left_out: Names of all columns that are not among ``columns``.
        words: The columns of ``given`` that are text, by name, with what their codes stand for.
    """

    name: str
    values: np.ndarray = field(repr=False)
    columns: tuple[str, ...]
    kinds: tuple[Column, ...] | None
    given: dict[str, np.ndarray] = field(repr=False)
    left_out: tuple[str, ...] = ()
    words: dict[str, Column] = field(default_factory=dict, repr=False)

    def in_words(self) -> str:
        """Which columns are of which kind, and how many cells are missing; nothing of plain numbers."""
        if self.kinds is None:
            return ""
        missing = int(np.isnan(self.values).sum())
        return kinds_in_words(self.kinds) + (f"; {missing} of {self.values.size} cells missing" if missing else "")


def table_of(source: Any, choice: Choice) -> Table | None:
    """Read a table with named columns: a .csv or .parquet file or a table of pandas. Other sources are none, and None is returned.

    Raises:
        ValueError: If the table is damaged, or cannot be read as numbers; the error names the column and says what to do.
        ImportError: If a .parquet file is given and pyarrow is missing.
    """
    found = frame_of(source)
    if found is None:
        return None
    name, whole = found
    conditions = held(choice.conditions, list(whole.columns))
    frame = chosen(whole, name, columns=choice.columns, drop=choice.drop, condition=conditions)
    refuse_conditions(name, conditions, list(frame.columns))
    rest = frame.drop(columns=conditions)
    if rest.shape[1] == 0:
        raise ValueError(f"condition must leave at least one column of {name} as data; got all of them. Leave some out.")
    left_out = tuple(column for column in whole.columns if column not in rest.columns)
    words = {condition: _text(frame[condition], name) for condition in conditions if not is_numeric(frame[condition])}
    given = {condition: given_values(frame[condition], words.get(condition), name) for condition in conditions}
    if choice.is_plain:
        if choice.kinds:
            raise ValueError("kinds have no effect on gray levels and data of a given shape; got both. Leave one of them out.")
        return Table(name, plain_numbers(rest, name), tuple(rest.columns), None, given, left_out, words)
    kinds = find_columns(rest, name, choice.kinds)
    values = code(rest, kinds, name)
    _check_rows(values, rest, name)
    doubts = chain(doubts_of_file(source, frame), doubts_of_table(rest, kinds, list(choice.kinds or ())), doubts_of_copies(values, kinds))
    for doubt in doubts:
        warn_caller(f"{name}: {doubt}")
    return Table(name, values, tuple(rest.columns), kinds, given, left_out, words)


def frame_of(source: Any, name: str = "the table") -> tuple[str, pd.DataFrame] | None:
    """The name of the file, or the one given, and the cells of a table with named columns; None if a source is none.

    Raises:
        ValueError: If a table has no row.
    """
    table = named_table(source)
    if table is not None:
        frame = checked_names(table, name)
    elif isinstance(source, str | Path) and (path := Path(source).expanduser()).is_file() and is_named(path):
        name, frame = path.name, read_frame(path)
    else:
        return None
    if len(frame) == 0:
        raise ValueError(f"{name} must have rows; got names of columns only. Give some rows.")
    return name, frame


def plain_numbers(frame: pd.DataFrame, source: str) -> np.ndarray:
    """A table of numbers as it is, ``[N, D]``.

    Raises:
        ValueError: If a column holds anything else.
    """
    words = [str(name) for name, dtype in frame.dtypes.items() if not types.is_numeric_dtype(dtype)]
    if words:
        raise ValueError(f"{source} must hold numbers; got columns {some(words)}. Encode or drop these: {drop(*words)}")
    return frame.to_numpy(dtype=np.float64, na_value=np.nan)


def is_numeric(cells: pd.Series) -> bool:
    """Whether cells are numbers, which are no truth values."""
    return types.is_numeric_dtype(cells.dtype) and not types.is_bool_dtype(cells.dtype)


def _text(cells: pd.Series, source: str) -> Column:
    return find_columns(cells.to_frame(), source, {str(cells.name): "category"})[0]


def given_values(cells: pd.Series, column: Column | None, source: str) -> np.ndarray:
    """What is given to a pair, ``[N]``: numbers as they are, and codes of text, -1 where it is missing.

    Args:
        cells: The cells.
        column: What the codes of text stand for; None for numbers.
        source: What the table is called in errors.

    Raises:
        ValueError: If a cell is none of the values of the column.
    """
    if column is None or is_numeric(cells):
        return cells.to_numpy(dtype=np.float64, na_value=np.nan) if is_numeric(cells) else cells.to_numpy()
    return np.nan_to_num(code(cells.to_frame(), (column,), source)[:, 0], nan=MISSING)


def _check_rows(values: np.ndarray, frame: pd.DataFrame, source: str) -> None:
    empty = np.flatnonzero(np.isnan(values).all(1))
    if len(empty):
        raise ValueError(
            f"{source} must have an observed cell in every row; got none in {len(empty)} rows, such as row {empty[0]}, counted from 0. "
            "Leave these rows out."
        )
    if frame.shape[1] == 1:
        warn_caller(
            f"{source} has one column, {str(frame.columns[0])!r}, and latents explain what columns have in common. Columns are "
            "separated by a comma, a semicolon or a tab."
        )
