"""Which kind of numbers each column of a table holds: found from its values by rules, or said by the user."""

from collections.abc import Iterator, Mapping
import re

import numpy as np
import pandas as pd
from pandas.api import types

from inference.data.columns import KINDS, NUMBERS, Column, Kind, has, some
from inference.data.tables.remedies import drop, kind_of
from inference.data.tables.words import look_like_numbers
from pyro_lvm.checks import warn_caller

MOST_LEVELS = 20  # of whole numbers without gaps that are taken for ordered values
MOST_VALUES = 100  # of text that is taken for categories
_MOST_CODES = 1000  # of any column that is to be coded
_FEWEST_ROWS = 20  # in which values that all differ are taken for identifiers
_DATES = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?|\d{1,2}[./-]\d{1,2}[./-](\d{2}|\d{4})( .*)?")
_IDS = re.compile(r"(^|[_ .-])(id|index|idx|key|uuid|nr|no)$|^(unnamed: \d+|row)$|[a-z]Id$|ID$", re.ASCII)


def find_columns(frame: pd.DataFrame, source: str, kinds: Mapping[str, str] | None = None) -> tuple[Column, ...]:
    """Find what the numbers of each column are.

    In this order: a column with two values is ``binary``, and so is one of booleans; text is ``category``, and so is a column with one
    value, which adds nothing to log p(x); whole numbers without gaps from 0 or 1 up to at most 20 are ``ordinal``; other whole numbers
    from 0 or 1 up whose variance is at least their mean are ``count``; all other numbers are ``real``.

    Args:
        frame: The table, with missing cells as pandas has them.
        source: What it is called in errors.
        kinds: Kinds of some columns by name, instead of those that are found.

    Raises:
        ValueError: If a column holds dates, words among numbers, nothing, or text that differs in all rows, or cannot be of a kind that
            is said; the error names it.

    Warns:
        UserWarning: Of columns that seem to be identifiers, and of constant ones.
    """
    said = dict(kinds or {})
    _check_said(said, frame, source)
    found = tuple(_column(frame[name], name, source, said.get(name)) for name in frame.columns)
    for sentence in _warnings(frame, found, source, said):
        warn_caller(sentence)
    return found


def _check_said(kinds: Mapping[str, str], frame: pd.DataFrame, source: str) -> None:
    for name, kind in kinds.items():
        if name not in frame.columns:
            raise ValueError(f"kinds must name columns of {source}, {some(list(frame.columns))}; got {name!r}. Correct it.")
        if kind not in KINDS:
            raise ValueError(f"kinds: {name} must be one of {', '.join(KINDS)}; got {kind!r}. Choose one of these.")


def _column(cells: pd.Series, name: str, source: str, said: str | None) -> Column:
    known = cells.dropna()
    _check_cells(known, name, source)
    is_text = not types.is_numeric_dtype(known.dtype) or types.is_bool_dtype(known.dtype)
    if is_text:
        known = _numbers_of(known, name, source, said)
        is_text = not types.is_numeric_dtype(known.dtype)
    else:
        known = known.astype(np.float64)
    kind = said or _kind(known, is_text)
    _check_kind(known, name, source, kind, is_text, said)
    if kind in NUMBERS:
        return Column(name, kind)
    return Column(name, kind, values_of(cells, known), is_text)  # type: ignore[arg-type]


def _check_cells(known: pd.Series, name: str, source: str) -> None:
    if len(known) == 0:
        raise ValueError(f"{source}: column {name} has no value: all cells are missing. Leave it out: {drop(name)}")
    looks_dated = types.is_datetime64_any_dtype(known.dtype) or types.is_timedelta64_dtype(known.dtype)
    if not looks_dated and types.is_object_dtype(known.dtype) or types.is_string_dtype(known.dtype):
        looks_dated = bool(known.map(lambda cell: not isinstance(cell, int | float) and bool(_DATES.fullmatch(str(cell).strip()))).all())
    if looks_dated:
        raise ValueError(
            f"{source}: column {name} holds dates, such as {known.iloc[0]}, which no likelihood models. Make numbers of them, such as days "
            f"since a date, or leave it out: {drop(name)}"
        )


def _numbers_of(known: pd.Series, name: str, source: str, said: str | None) -> pd.Series:
    """Cells of text; as numbers, if all are numbers in quotes."""
    if types.is_bool_dtype(known.dtype) or isinstance(known.dtype, pd.CategoricalDtype):
        return known.astype(str)
    words = known.astype(str).str.strip()
    numbers = pd.to_numeric(words, errors="coerce")
    share = float(numbers.notna().mean())
    if share == 1:
        return numbers.astype(np.float64)
    if share >= 0.5 and said not in ("category", "binary"):
        odd = words[numbers.isna()]
        raise ValueError(
            f"{source}: column {name} holds numbers and words: {len(odd)} of {len(words)} cells, such as {odd.iloc[0]!r}, are no numbers. "
            f"{_remedy(odd)}, or take all for categories: {kind_of(name, 'category')}"
        )
    return words


def _remedy(words: pd.Series) -> str:
    return "Write plain numbers" if look_like_numbers(list(words.unique())) else "Correct them or leave them empty"


def _kind(known: pd.Series, is_text: bool) -> Kind:
    num_values = known.nunique()
    if num_values == 2:
        return "binary"
    if is_text or num_values == 1:
        return "category"
    low, high = known.min(), known.max()
    if not (known == known.round()).all() or low not in (0, 1):
        return "real"
    if num_values <= MOST_LEVELS and num_values == high - low + 1:
        return "ordinal"
    return "count" if known.var() >= known.mean() else "real"


def _check_kind(known: pd.Series, name: str, source: str, kind: str, is_text: bool, said: str | None) -> None:
    if is_text and said is None and known.nunique() > MOST_VALUES or is_text and _all_differ(known) and said is None:
        is_number = look_like_numbers(list(known.unique()))
        plain = "They look like numbers: write plain numbers, s" if is_number else "S"
        raise ValueError(
            f"{source}: column {name} holds text of {known.nunique()} different values in {len(known)} rows, such as {known.iloc[0]!r}, "
            f"more than categories have. {plain}ay {kind_of(name, 'category')} or leave it out: {drop(name)}"
        )
    wrong = None
    if kind in NUMBERS and is_text:
        wrong = f"it holds words, such as {known.iloc[0]!r}"
    elif kind == "count" and not ((known >= 0) & (known == known.round())).all():
        wrong = f"not all of its values are whole numbers from 0 up; they go from {known.min():g} to {known.max():g}"
    elif kind == "binary" and known.nunique() > 2:
        wrong = f"it has {known.nunique()} values"
    elif kind in ("category", "ordinal") and known.nunique() > _MOST_CODES:
        wrong = f"it has {known.nunique()} values, more than {_MOST_CODES}"
    elif kind == "ordinal" and is_text and not isinstance(known.dtype, pd.CategoricalDtype):
        wrong = "it holds words, whose order nothing says; number them in their order"
    if wrong:
        raise ValueError(f"{source}: column {name} cannot be {kind}, as {wrong}. Say another of {', '.join(KINDS)}.")


def _all_differ(known: pd.Series) -> bool:
    return len(known) > _FEWEST_ROWS and known.nunique() == len(known)


def values_of(cells: pd.Series, known: pd.Series) -> tuple[str, ...]:
    """The values of a column in the order of their codes: numbers by size, words by the alphabet, categories of pandas by their own."""
    if isinstance(cells.dtype, pd.CategoricalDtype):
        present = set(known.astype(str))
        return tuple(str(value) for value in cells.cat.categories if str(value) in present)
    return tuple(map(written, sorted(known.unique())))


def written(value: object) -> str:
    """A value as a table writes it; whole numbers without a decimal point."""
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return str(value)


def _warnings(frame: pd.DataFrame, columns: tuple[Column, ...], source: str, said: Mapping[str, str]) -> Iterator[str]:
    constant = [f"{column.name} ({column.values[0]})" for column in columns if len(column.values) == 1 and column.name not in said]
    if constant:
        yield f"{source}: {some(constant)} {has(constant)} one value in all rows and add{'s' * (len(constant) == 1)} nothing to log p(x)."
    ids = [column.name for column in columns if column.kind in NUMBERS and column.name not in said and _is_id(frame[column.name])]
    if ids:
        yield (
            f"{source}: {some(ids)} {has(ids)} another whole number in every row, as identifiers do, and would be modelled like a "
            f"measurement. Leave it out: {drop(*ids)}"
        )


def _is_id(cells: pd.Series) -> bool:
    known = pd.to_numeric(cells.dropna(), errors="coerce").astype(np.float64)
    if not _all_differ(known) or not (known == known.round()).all():
        return False
    is_run = known.max() - known.min() == len(known) - 1
    return bool(_IDS.search(str(cells.name))) or known.is_monotonic_increasing or is_run
