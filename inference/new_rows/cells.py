"""Tables whose missing cells are filled in, while all others stay as they are."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from inference.data.columns import Column
from inference.data.tables.choice import is_numeric
from inference.data.tables.coding import as_written, decode_table
from inference.data.tables.fields import Fields, read_fields, unquoted
from inference.data.tables.frames import is_named
from inference.data.tables.kinds import written
from inference.files import replacing_file
from inference.new_rows.tables import numbered, write_table

_PADDED = r"[+-]?(0\d|\d{19})"  # numbers that would lose zeros or digits


def write_filled(path: Path, draws: np.ndarray, columns: Sequence[Column], frame: pd.DataFrame, source: str) -> None:
    """Write a table with its missing cells filled in.

    From a text file to a text file, all other fields are written as they are in it, with its separator, quotes and decimal commas. In
    other files, columns keep their dtypes where no cell is filled in.

    Args:
        path: The file to write, a table.
        draws: Rows ``[N, D]`` or, of several draws, ``[M, N, D]``: numbers, and codes.
        columns: The D columns.
        frame: The table of N rows as it was read, with other columns.
        source: The path of the file that it was read from.

    Raises:
        ValueError: If the file is no longer what was read, or draws are to be numbered and it has a column draw or row.
    """
    place = Path(source).expanduser()
    tables = [decode_table(draw, columns) for draw in (draws if draws.ndim == 3 else draws[None])]
    if draws.ndim == 3 and (taken := [name for name in ("draw", "row") if name in frame.columns]):
        raise ValueError(f"{source} must have no column {taken[0]}, which is to number the tables of several draws. Rename it.")
    fields = _fields_of(place, frame) if place.suffix == ".csv" and is_named(place) else None
    if fields is not None and path.suffix == ".csv":
        _write_fields(path, fields, [_filled_fields(fields, frame, table, columns) for table in tables], has_draws=draws.ndim == 3)
        return
    if fields is not None:
        frame = _as_in_text(frame, fields, columns)
    parts = [_filled_frame(frame, table, columns) for table in tables]
    write_table(path, numbered(parts) if draws.ndim == 3 else parts[0])


def _fields_of(path: Path, frame: pd.DataFrame) -> Fields:
    fields = read_fields(path)
    if len(fields.rows) != len(frame) or any(len(row) != frame.shape[1] for row in fields.rows):
        raise ValueError(f"{path} must be the file that was read, of {len(frame)} rows; it has {len(fields.rows)} now. Try again.")
    return fields


def _write_fields(path: Path, fields: Fields, tables: Sequence[list[list[str]]], *, has_draws: bool) -> None:
    with replacing_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        file.write(fields.mark + fields.line([*(["draw", "row"] if has_draws else []), *fields.names]))
        for number, rows in enumerate(tables):
            file.writelines(fields.line([*([str(number), str(i)] if has_draws else []), *row]) for i, row in enumerate(rows))


def _filled_fields(fields: Fields, frame: pd.DataFrame, drawn: pd.DataFrame, columns: Sequence[Column]) -> list[list[str]]:
    """The rows of a text file with values in place of the fields of missing cells."""
    rows, decimal = [[*row] for row in fields.rows], _decimal(fields, frame)
    for column in columns:
        place = frame.columns.get_loc(column.name)
        own = _spellings(frame[column.name], column, [row[place] for row in fields.rows])
        for i, value in _in_gaps(frame[column.name], drawn[column.name]):
            word = _word(value)
            text = word if column.is_text else word.replace(".", decimal)
            rows[i][place] = own.get(word) or fields.written(text, rows[i][place])
    return rows


def _in_gaps(cells: pd.Series, drawn: pd.Series) -> Iterator[tuple[int, object]]:
    return ((int(i), drawn.iloc[i]) for i in np.flatnonzero(cells.isna()))


def _word(value: object) -> str:
    """A value as it is written; real numbers with the digits that tell them from others of float32, if they are."""
    if isinstance(value, float) and not value.is_integer() and float(np.float32(value)) == value:
        return str(np.float32(value))
    return written(value)


def _spellings(cells: pd.Series, column: Column, known: Sequence[Any]) -> dict[str, Any]:
    """What stands for each value of a column among cells that are known: true or TRUE for True, 01 for 1."""
    words = as_written(cells, column).to_numpy() if column.values else []
    return {word: cell for word, cell, is_known in zip(words, known, cells.notna(), strict=False) if is_known}


def _decimal(fields: Fields, frame: pd.DataFrame) -> str:
    places = [place for place, name in enumerate(frame.columns) if types.is_float_dtype(frame[name].dtype)]
    return "," if any("," in row[place] for row in fields.rows for place in places) else "."


def _as_in_text(frame: pd.DataFrame, fields: Fields, columns: Sequence[Column]) -> pd.DataFrame:
    """A table read from text, whose columns that the model does not see have all digits, zeros and words of the text."""
    names = {column.name for column in columns}
    frame = frame.copy()
    for place, name in enumerate(frame.columns):
        if name not in names:
            frame[name] = _as_written_in(frame[name], pd.Series([unquoted(row[place]) for row in fields.rows], frame.index, dtype=object))
    return frame


def _as_written_in(cells: pd.Series, texts: pd.Series) -> pd.Series:
    known = cells.notna()
    if not is_numeric(cells):  # words such as NA or None, which stand for missing cells elsewhere, are words here
        return texts.where(texts != "", None) if cells[known].map(type).eq(str).all() else cells
    if texts[known].str.match(_PADDED).any():
        return texts.where(known, None)
    if not known.all() and texts[known].str.fullmatch(r"[+-]?\d+ *").all():
        whole = [int(text) if is_known else None for text, is_known in zip(texts, known, strict=True)]
        return pd.Series(whole, cells.index, dtype="Int64")
    return cells


def _filled_frame(frame: pd.DataFrame, drawn: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    filled = frame.reset_index(drop=True).copy()
    for column in columns:
        if filled[column.name].isna().any():
            filled[column.name] = _joined(filled[column.name], drawn[column.name], column)
    return filled


def _joined(cells: pd.Series, drawn: pd.Series, column: Column) -> pd.Series:
    """Cells with values in place of missing ones: whole numbers if all are, and the same dtype where it holds them."""
    own, are_words = _own_values(cells) | _spellings(cells, column, cells.tolist()), cells.dropna().map(type).eq(str).all()
    values = cells.astype(object).to_list()
    for i, value in _in_gaps(cells, drawn):
        values[i] = own.get(_word(value), _word(value) if are_words else value)
    joined = pd.Series(values, cells.index, dtype=object)
    if is_numeric(cells):
        is_whole = column.kind != "real" and all(float(value).is_integer() for value in values)
        whole = cells.dtype if types.is_integer_dtype(cells.dtype) else "int64"
        return joined.astype(whole if is_whole else "float64")
    if isinstance(cells.dtype, pd.CategoricalDtype):
        new = [value for value in dict.fromkeys(values) if value not in cells.cat.categories]
        return joined.astype(cells.cat.add_categories(new).dtype)
    return joined.astype(cells.dtype) if types.is_extension_array_dtype(cells.dtype) else joined.infer_objects()


def _own_values(cells: pd.Series) -> dict[str, Any]:
    """Values that a column of words can have, by the words."""
    if isinstance(cells.dtype, pd.CategoricalDtype):
        return {str(value): value for value in cells.cat.categories}
    return {"True": True, "False": False} if cells.dropna().map(type).eq(bool).all() else {}
