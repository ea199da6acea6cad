"""Tables as pandas reads them, and the columns that are asked for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import csv
from itertools import islice
from pathlib import Path
from typing import IO, Any
import warnings

import pandas as pd

from inference.data.columns import some
from inference.data.readers import are_names, parquet_frame

SEPARATORS = "\t;,"  # in which commas are last, as they may be decimal ones, or in names, where all lines have as many of others
_OTHER_SEPARATORS = {"|": "bars |", "^": "carets ^", "~": "tildes ~", ":": "colons", None: "blanks"}
_GUESSED_FROM = 20  # lines, whose fields show the separator
MOST_COLUMNS = 100_000


def is_named(path: Path) -> bool:
    """Whether a file is a table that names its columns: .parquet, or .csv whose first line has no number.

    Raises:
        ValueError: If there are too many columns.
    """
    if path.suffix == ".parquet":
        return True
    if path.suffix != ".csv":
        return False
    _, fields = _header(path)
    return bool(fields) and are_names(fields)


def read_frame(path: Path) -> pd.DataFrame:
    """Read a table with named columns; empty cells and what pandas takes for missing, such as NA, are missing.

    The separator of a .csv file is the one of comma, semicolon and tab with which its first 20 lines have the same number of fields, the
    most of these; if there is none, the one that the first line has most of. A byte order mark is skipped, and after a semicolon decimal
    commas are read.

    Raises:
        ValueError: If the file is damaged, or names are empty, or come twice.
        ImportError: If a .parquet file is given and pyarrow is missing.
    """
    if path.suffix == ".parquet":
        return checked_names(parquet_frame(path), path.name)
    separator, fields = _header(path)
    names = [name.strip() for name in fields]
    if len(names) == 1:
        _check_separator(path)
    _check_names(names, path.name)
    _check_lengths(path, separator, len(names))
    frame = _read_csv(path, names, separator, ".")
    if separator == ";":
        other = _read_csv(path, names, separator, ",")
        frame = other if _num_numeric(other) > _num_numeric(frame) else frame
    return frame


def cells_as_written(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns of a .csv file as text, in which nothing is missing."""
    separator, fields = _header(path)
    names = [name.strip() for name in fields]
    return _read_csv(path, names, separator, ".", usecols=list(columns), dtype=str, keep_default_na=False, na_filter=False)


def _read_csv(path: Path, names: Sequence[str], separator: str, decimal: str, **options: Any) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # of fields that would be left out
            return pd.read_csv(
                path,
                sep=separator,
                decimal=decimal,
                names=list(names),
                header=0,
                index_col=False,
                encoding="utf-8-sig",
                skipinitialspace=True,
                skip_blank_lines=len(names) > 1,
                low_memory=False,
                **options,
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as error:
        raise ValueError(f"{path} must be a table in UTF-8 with names in its first line; {str(error).strip()}.") from error


def _check_lengths(path: Path, separator: str, expected: int) -> None:
    """Refuse lines with more or fewer fields than names, of which pandas would fill the latter with missing cells."""
    with _opened(path) as file:
        for fields in (lines := csv.reader(file, delimiter=separator, skipinitialspace=True)):
            if fields and len(fields) != expected:
                raise ValueError(
                    f"{path} must have {expected} fields in every line, as its first line has names; got {len(fields)} in line "
                    f"{lines.line_num}. Correct that line."
                )


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield file
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} must be a table in UTF-8; {error}. Save it in that encoding.") from error


def _fields(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])


def _header(path: Path) -> tuple[str, list[str]]:
    """The separator, and the fields of the first line."""
    with _opened(path) as file:
        lines = list(islice(file, _GUESSED_FROM))
    line = lines[0] if lines else ""
    count = max(map(line.count, SEPARATORS)) + 1
    if count > MOST_COLUMNS:
        raise ValueError(
            f"{path} has {count} columns, more than the {MOST_COLUMNS} that a table may have. Save the numbers as an array: numpy.save."
        )
    counts = {mark: _num_fields(lines, mark) for mark in SEPARATORS}
    separator = max(SEPARATORS, key=lambda mark: (counts[mark], len(_fields(line, mark))))
    return separator, _fields(line, separator)


def separator_of(path: Path) -> str:
    """The separator of a .csv file, as :func:`read_frame` finds it."""
    return _header(path)[0]


def _num_fields(lines: Sequence[str], separator: str) -> int:
    """The number of fields that all lines have with a separator; 0 if these are different numbers, or one."""
    try:
        counts = {len(fields) for fields in csv.reader(lines, delimiter=separator, skipinitialspace=True) if fields}
    except csv.Error:
        return 0
    return counts.pop() if len(counts) == 1 and counts != {1} else 0


def _check_separator(path: Path) -> None:
    """Refuse a table whose lines are one field each, and have the same number of fields, two or more, with another separator."""
    with _opened(path) as file:
        lines = [line.strip() for line in islice(file, _GUESSED_FROM) if line.strip()]
    for mark, word in _OTHER_SEPARATORS.items():
        counts = {len(line.split(mark)) for line in lines}
        if len(counts) == 1 and counts != {1} and len(lines) > 1:
            raise ValueError(
                f"{path} must have columns separated by commas, semicolons or tabs; they seem to be separated by {word}, as in "
                f"{lines[0][:60]!r}. Write commas instead."
            )


def checked_names(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """A table whose columns are named by words, each once.

    Raises:
        ValueError: If a name is empty or comes twice.
    """
    names = [str(name).strip() for name in frame.columns]
    _check_names(names, source)
    return frame.set_axis(names, axis=1).reset_index(drop=True)


def _check_names(names: Sequence[str], source: str) -> None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1] if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"{source} must name each column once; {some(twice)} come{'s' * (len(twice) == 1)} twice. Rename one of them.")
    if "" in names:
        raise ValueError(f"{source} must name every column; column {names.index('') + 1} has no name. Name it.")


def _num_numeric(frame: pd.DataFrame) -> int:
    return sum(pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes)


def chosen(
    frame: pd.DataFrame, source: str, *, columns: Sequence[str] | None, drop: Sequence[str] | None, condition: Sequence[str] = ()
) -> pd.DataFrame:
    """The columns of a table that are asked for: those to keep, in the order of the table, without those to drop.

    Raises:
        ValueError: If there is no column of a name, or none is left.
    """
    for option, names in (("columns", columns or ()), ("drop", drop or ())):
        unknown = [name for name in names if name not in frame.columns]
        if unknown:
            raise ValueError(f"{option} must name columns of {source}, {some(list(frame.columns))}; got {some(unknown)}. Correct it.")
    kept = [name for name in frame.columns if columns is None or name in columns or name in condition]
    kept = [name for name in kept if name not in (drop or ())]
    if not kept:
        raise ValueError(f"columns and drop must leave at least one column of {source}; none is left. Keep more.")
    return frame[kept]
