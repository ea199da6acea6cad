"""Cells of a table as float32 numbers, and back."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from inference.data.columns import NUMBERS, Column, some
from inference.data.readers import is_number
from inference.data.tables.kinds import written
from inference.data.tables.remedies import drop, kind_of

_LARGEST_ERROR = 1e-3  # of float32, in standard deviations of a column


def code(frame: pd.DataFrame, columns: Sequence[Column], source: str, *, is_new: bool = False) -> np.ndarray:
    """Return the cells of a table ``[N, D]`` as float32 numbers: codes where a column has values, and NaN where cells are missing.

    Args:
        frame: The table.
        columns: Its columns; names that it has besides these are left out.
        source: What it is called in errors.
        is_new: Whether the rows are new ones, which may be few and much alike, so that rounding is not measured by their spread.

    Raises:
        ValueError: If a cell has a value that its column has not, is no number where it should be one, or cannot be held in float32.
    """
    return np.stack(
        [_exact(_coded(frame[column.name], column, source), column, source, is_new=is_new) for column in columns], axis=1
    )  # [N, D]


def _exact(cells: np.ndarray, column: Column, source: str, *, is_new: bool) -> np.ndarray:
    """Cells ``[N]`` as float32, which keeps their differences."""
    with np.errstate(over="ignore"):
        rounded = cells.astype(np.float32)
    wrong = np.flatnonzero(np.isinf(rounded))
    if len(wrong):
        remedy = "Correct the cell, or leave it empty" if np.isinf(cells[wrong[0]]) else "Rescale the column"
        raise ValueError(
            f"{source}: column {column.name} must be finite in float32; got {cells[wrong[0]]} in row {wrong[0]}, counted from 0. {remedy}."
        )
    if is_new:
        return rounded
    known = ~np.isnan(cells)
    error, spread = np.abs(rounded - cells)[known].max(initial=0.0), np.std(cells[known]) if known.any() else 0.0
    if error > _LARGEST_ERROR * spread > 0:
        raise ValueError(
            f"{source}: column {column.name} has large numbers that differ little, such as {written(cells[known][0])}, and "
            f"loses these differences in float32. Subtract a constant or, if they are identifiers, train without it: {drop(column.name)}"
        )
    return rounded


def _coded(cells: pd.Series, column: Column, source: str) -> np.ndarray:
    if column.kind in NUMBERS:
        return _numbers(cells, column, source)
    words = as_written(cells, column)
    places = {value: float(place) for place, value in enumerate(column.values)}
    unknown = words[words.notna() & ~words.isin(list(places))]
    if len(unknown):
        value = unknown.iloc[0]
        is_higher = column.kind == "ordinal" and not column.is_text and is_number(value) and float(value) >= 0 and float(value).is_integer()
        raise ValueError(
            f"{source}: column {column.name} must hold one of {some(column.values)}; got {value!r} in row "
            f"{int(unknown.index[0])}, counted from 0. Correct it, or leave it empty"
            + (f"; if the column is a count, train with {kind_of(column.name, 'count')}" if is_higher else ".")
        )
    return words.map(places).to_numpy(np.float64)


def as_written(cells: pd.Series, column: Column) -> pd.Series:
    """Cells as words, numbers as the values of the column are written; missing ones stay missing."""
    cells = cells.astype(object).where(cells.notna(), None)
    if column.is_text:
        return cells.map(lambda cell: str(cell).strip(), na_action="ignore")
    numbers = pd.to_numeric(cells, errors="coerce").astype(np.float64)
    return numbers.astype(object).where(numbers.notna(), cells).map(written, na_action="ignore")


def _numbers(cells: pd.Series, column: Column, source: str) -> np.ndarray:
    numbers = pd.to_numeric(cells.astype(object) if cells.dtype == object else cells, errors="coerce").astype(np.float64)
    odd = cells[numbers.isna() & cells.notna()]
    if len(odd):
        raise ValueError(
            f"{source}: column {column.name} must hold numbers; got {odd.iloc[0]!r} in row {int(odd.index[0])}, counted from 0. Correct "
            "it, or leave it empty."
        )
    return numbers.to_numpy(np.float64, na_value=np.nan)


def decode_table(values: np.ndarray, columns: Sequence[Column]) -> pd.DataFrame:
    """Return numbers ``[N, D]`` as a table with the values that codes stand for; NaN is a missing cell, and means of codes are shares.

    Raises:
        ValueError: If there are other columns than numbers, or a number is no code of its column.
    """
    if values.ndim != 2 or values.shape[1] != len(columns):
        raise ValueError(f"values must have shape [N, {len(columns)}], one number for each column; got {values.shape}.")
    return pd.DataFrame({_name(values[:, place], column): _decoded(values[:, place], column) for place, column in enumerate(columns)})


def _is_whole(numbers: np.ndarray) -> bool:
    return bool((np.isnan(numbers) | (numbers == np.rint(numbers))).all())


def _name(numbers: np.ndarray, column: Column) -> str:
    """The name of a column, which for means of a binary one says of which value they are the probability."""
    return column.name if column.kind in NUMBERS or _is_whole(numbers) else f"{column.name}={column.values[-1]}"


def _decoded(numbers: np.ndarray, column: Column) -> pd.Series:
    if column.kind == "real" or (column.kind in ("count", "binary") and not _is_whole(numbers)):
        return pd.Series(numbers)
    if not _is_whole(numbers):
        raise ValueError(
            f"column {column.name} must hold codes, whole numbers from 0 to {len(column.values) - 1}; got {numbers[numbers % 1 > 0][0]:g}. "
            "A mean of codes stands for no value: take a draw, such as Imputation.draws[0], or Imputation.center(data.kinds)."
        )
    codes = pd.Series(numbers).astype("Int64")  # which holds missing cells
    if column.kind == "count":
        return codes
    if codes.max() >= len(column.values) or codes.min() < 0:
        raise ValueError(f"column {column.name} must hold codes from 0 to {len(column.values) - 1}; got {codes.min()} to {codes.max()}.")
    names = dict(enumerate(column.values if column.is_text else map(float, column.values)))
    values = codes.map(names, na_action="ignore")
    if column.is_text:
        return values.astype(object)
    is_whole = all(float(value).is_integer() for value in column.values)
    return values.astype("Int64" if is_whole else "Float64")
