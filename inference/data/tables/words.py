"""Cells of text that may be read as something else than was meant."""

from collections.abc import Iterator, Sequence
import re

import pandas as pd
from pandas.api import types

from inference.data.columns import Column, has, some
from inference.data.tables.remedies import kind_of

_NUMBER = r"\d{1,2}:\d{2}(?::\d{2})?|\d{1,3}(?:[.,'’ \u00a0\u202f]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?"  # times, thousands, decimals
_SIGNED = re.compile(rf"(?P<before>(?:[^\w\s<>=~-]|[A-Z]{{3}}\s)?)\s*[+−–-]?(?:{_NUMBER})\s*(?P<after>[^\d\s<>=~+–-][^\d<>=~+–-]*)?")
_THOUSANDS = r"[+-]?[1-9]\d{0,2}(?:\.\d{3})*"
_FEWEST_VALUES = 3  # which look like numbers, in a column of text that is warned of


def look_like_numbers(values: Sequence[str]) -> bool:
    """Whether all values are numbers with one other sign or unit before or after them, decimal commas, parted thousands, or times."""
    found = [_SIGNED.fullmatch(value.strip()) for value in values]
    signs = {(match["before"], match["after"]) for match in found if match} - {("", None)}
    return all(found) and len(signs) <= 1


def doubts_of_words(frame: pd.DataFrame, columns: Sequence[Column], said: Sequence[str]) -> Iterator[str]:
    """Doubts of columns of text whose kind is not said: numbers with other signs, and values that differ only in upper and lower case."""
    texts = [column for column in columns if column.is_text and column.name not in said and column.kind != "ordinal"]
    signed = [column for column in texts if _is_signed(column, frame[column.name])]
    if signed:
        named = [f"{column.name} ({len(column.values)} values, such as {_with_signs(column.values)!r})" for column in signed]
        yield (
            f"{some(named)} {'is read as a category, though its' if len(signed) == 1 else 'are read as categories, though their'} values "
            f"look like numbers with other signs. Write plain numbers, or say {kind_of(signed[0].name, 'category')}"
        )
    alike = [f"{column.name} ({' and '.join(map(repr, same))})" for column in texts if (same := _alike(column.values))]
    if alike:
        yield f"{some(alike)} {has(alike)} values that differ only in case or blanks. Write them alike."


def _is_signed(column: Column, cells: pd.Series) -> bool:
    is_chosen = isinstance(cells.dtype, pd.CategoricalDtype)
    return len(column.values) >= _FEWEST_VALUES and not is_chosen and look_like_numbers(column.values)


def _with_signs(values: Sequence[str]) -> str:
    return next((value for value in values if not re.fullmatch(r"\d+(\.\d+)?", value)), values[0])


def _alike(values: Sequence[str]) -> list[str]:
    """The first values that are the same word but for case and blanks; none, if all are different words."""
    words: dict[str, list[str]] = {}
    for value in values:
        words.setdefault(" ".join(value.split()).casefold(), []).append(value)
    return next((same for same in words.values() if len(same) > 1), [])


def doubts_of_gaps(frame: pd.DataFrame, words: pd.DataFrame) -> Iterator[str]:
    """Doubts of words, such as ``None``, that are read as missing in columns of text, where they may be values.

    Args:
        frame: The table as it is read.
        words: The cells of its columns of text with gaps, as they are written.
    """
    said = []
    for name in words:
        counts = words[name][frame[name].isna()].str.strip().value_counts()
        said += [f"column {name}: {count} cells {word!r}" for word, count in counts.items() if word]
    if said:
        yield f"{'; '.join(said)} are read as missing. If that is a value, write another word; if not, leave these cells empty."


def doubts_of_thousands(frame: pd.DataFrame) -> Iterator[str]:
    """Doubts of dots in a file with decimal commas, whose columns with decimal points are text: each with three digits after it."""
    doubtful = []
    for name in texts_of(frame):
        known = frame[name].dropna().astype(str).str.strip()
        if known.str.fullmatch(_THOUSANDS).all() and known.str.contains(".", regex=False).any():
            doubtful.append(f"{name} ({known[known.str.contains('.', regex=False)].iloc[0]})")
    if doubtful:
        yield (
            f"dots in {some(doubtful)} are read as decimal points, though other columns have decimal commas and three digits follow each "
            "dot. If they part thousands, leave them out."
        )


def texts_of(frame: pd.DataFrame) -> list[str]:
    """The names of the columns that are no numbers."""
    return [name for name in frame.columns if not types.is_numeric_dtype(frame[name].dtype)]
