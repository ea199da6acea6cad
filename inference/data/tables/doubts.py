"""Tables that can be read, and whose numbers may not be what they seem: each doubt is a sentence that says what to do."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from inference.data.columns import NUMBERS, Column, has, some
from inference.data.tables.frames import cells_as_written
from inference.data.tables.remedies import drop
from inference.data.tables.words import doubts_of_gaps, doubts_of_thousands, doubts_of_words, texts_of

MOST_RELATED = 1000  # columns, up to which it is looked for those that determine one another
MOST_ROWS = 20_000  # in which it is looked for them
FEWEST_ROWS = 10
_FEW = 5  # relations that are named
_LARGEST_RESIDUAL = 1e-5  # of a column that others determine, in standard deviations
_SMALLEST_WEIGHT = 1e-3
_ROUNDING = 1e-12  # of the mean of a constant column, up to which its spread is no more than rounding
_FEWEST_COPIES = 3
_ACCIDENTS = 20  # times the copies that are expected by accident, below which copies are no sign
_NINES = [sign * (10.0**digits - 1) for digits in range(2, 10) for sign in (1, -1)]  # which often stand for missing values, like -1
_FEWEST_OTHERS = 10  # different values, beside which any far value is doubted
_FEWEST_USUAL = 3  # beside which -1 and nines are


def doubts_of_file(source: Any, frame: pd.DataFrame) -> Iterator[str]:
    """Doubts of how the cells of a .csv file are written; there are none of other sources."""
    if not isinstance(source, str | Path) or Path(source).suffix != ".csv":
        return
    path = Path(source).expanduser()
    gaps = [name for name in texts_of(frame) if frame[name].isna().any()]
    if gaps:
        yield from doubts_of_gaps(frame, cells_as_written(path, gaps))
    yield from doubts_of_thousands(frame)


def doubts_of_table(frame: pd.DataFrame, columns: Sequence[Column], said: Sequence[str] = ()) -> Iterator[str]:
    """Doubts of the columns of a table.

    Args:
        frame: The table.
        columns: What its columns are.
        said: Names of columns whose kinds the user says.
    """
    yield from doubts_of_words(frame, columns, said)
    coded = [column for column in columns if not column.is_text]
    numbers = {column.name: pd.to_numeric(frame[column.name], errors="coerce").to_numpy(np.float64, na_value=np.nan) for column in coded}
    yield from _of_relations(numbers, {column.name for column in coded if column.kind == "real"})
    yield from _of_far_values({column.name: numbers[column.name] for column in coded if column.kind in NUMBERS})


def _of_relations(numbers: dict[str, np.ndarray], real: set[str]) -> Iterator[str]:
    """Doubts of real columns that are linear functions of others, whose density given these has no bound."""
    if len(numbers) > MOST_RELATED or not real:
        return
    x = np.stack(list(numbers.values()), axis=1)
    x = _standardized(x[:: max(1, len(x) // MOST_ROWS)])  # [N, D]
    names = list(numbers)
    related: dict[str, list[str]] = {}
    for i, j in _pairs(x):
        if {names[i], names[j]} & real:
            name, other = (names[j], names[i]) if names[j] in real else (names[i], names[j])
            related.setdefault(name, [other])
    rest = [place for place, name in enumerate(names) if name not in related]
    rest = sorted(rest, key=lambda place: names[place] in real)  # real columns last, which those before them may determine
    found = {names[rest[place]]: [names[rest[other]] for other in others] for place, others in _dependent(x[:, rest]).items()}
    related |= {name: others for name, others in found.items() if name in real}
    if related:
        relations = "; ".join(f"{name} of {some(others)}" for name, others in list(related.items())[:_FEW])
        are = "column is an exact linear function" if len(related) == 1 else "columns are exact linear functions"
        yield (
            f"{len(related)} {are} of others ({relations}{'; ...' * (len(related) > _FEW)}), so that the density of a row has no bound "
            f"and log p(x) can grow for as long as training goes on. Leave out: {drop(*related)}"
        )


def _standardized(x: np.ndarray) -> np.ndarray:
    """Columns ``[N, D]`` with mean 0 and variance 1, and NaN where they are missing, constant or not finite."""
    x = np.where(np.isfinite(x), x, np.nan)
    x = np.where(np.isfinite(x).any(0), x, 0.0)
    mean, spread = np.nanmean(x, 0), np.nanstd(x, 0)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        z = (x - mean) / np.where(spread > _ROUNDING * np.abs(mean), spread, 0.0)
    return np.where(np.isfinite(z), z, np.nan)


def _pairs(z: np.ndarray) -> list[tuple[int, int]]:
    """The pairs of columns ``[N, D]`` whose correlation over their common rows is 1 or -1."""
    known = np.isfinite(z).astype(np.float64)
    filled = np.nan_to_num(z)
    n = known.T @ known  # [D, D]
    sums, squares, products = filled.T @ known, (filled**2).T @ known, filled.T @ filled  # of the first over rows common with the second
    with np.errstate(invalid="ignore", divide="ignore"):
        variances = squares - sums**2 / n
        r = (products - sums * sums.T / n) / np.sqrt(variances * variances.T)
    close = (n >= FEWEST_ROWS) & (np.abs(r) > 1 - 1e-9) & np.triu(np.ones_like(n, bool), 1)
    return [(int(i), int(j)) for i, j in np.argwhere(close) if _is_line(z[:, i], z[:, j])]


def _is_line(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the common points of two columns are at least three, and lie on a line."""
    points = np.unique(np.stack([a, b], axis=1)[np.isfinite(a) & np.isfinite(b)], axis=0)
    if len(points) < 3:
        return False
    slope, offset = np.polyfit(points[:, 0], points[:, 1], deg=1)
    return bool(np.abs(points[:, 1] - slope * points[:, 0] - offset).max() < _LARGEST_RESIDUAL)


def _dependent(z: np.ndarray) -> dict[int, list[int]]:
    """The places of columns ``[N, D]`` that those before them determine in the complete rows, with the places of these."""
    places = np.flatnonzero(np.isfinite(z).any(0))
    complete = z[:, places][np.isfinite(z[:, places]).all(1)]
    if len(places) < 3 or len(complete) < len(places) + FEWEST_ROWS:
        return {}
    complete = _standardized(complete)
    varies = np.isfinite(complete).all(0)
    places, triangle = places[varies], np.linalg.qr(complete[:, varies]).R  # [D, D]
    is_free = np.abs(np.diag(triangle)) > _LARGEST_RESIDUAL * np.sqrt(len(complete))
    if is_free.all():
        return {}
    weights = np.linalg.lstsq(triangle[:, is_free], triangle[:, ~is_free])[0]  # of each free column in each other
    is_used = np.abs(weights) > _SMALLEST_WEIGHT
    return {int(place): places[is_free][used].tolist() for place, used in zip(places[~is_free], is_used.T, strict=True)}


def _of_far_values(numbers: dict[str, np.ndarray]) -> Iterator[str]:
    """Doubts of smallest and largest values that come several times, farther from the next than all others lie apart."""
    far = [f"{name} ({value:g} in {count} rows)" for name, cells in numbers.items() for value, count in _far_values(cells)]
    if far:
        yield f"{some(far)} {has(far)} a value far from all others. If it stands for a missing one, leave these cells empty."


def _far_values(cells: np.ndarray) -> list[tuple[float, int]]:
    values, counts = np.unique(cells[np.isfinite(cells)], return_counts=True)
    ends = dict.fromkeys([0, len(values) - 1] if len(values) else ())
    return [(values[end], counts[end]) for end in ends if counts[end] >= _FEWEST_COPIES and _is_far(float(values[end]), values)]


def _is_far(value: float, values: np.ndarray) -> bool:
    """Whether a value is a negative one among counts that are not, or lies farther from the others than these lie apart."""
    is_usual = value == -1 or value in _NINES
    others = values[(values != value) & ~np.isin(values, _NINES)] if is_usual else values[values != value]
    if len(others) < (_FEWEST_USUAL if is_usual else _FEWEST_OTHERS):
        return False
    if value == -1 and others.min() >= 0 and (others == np.rint(others)).all():
        return True
    return bool(np.abs(others - value).min() > np.ptp(others))


def doubts_of_copies(values: np.ndarray, columns: Sequence[Column]) -> Iterator[str]:
    """Doubts of rows that come again, more often than independent columns would lead to, in a table with a real column.

    Args:
        values: The table as numbers, ``[N, D]``.
        columns: What its columns are.
    """
    rows = pd.DataFrame(values)
    copies = int(rows.duplicated().sum()) if any(column.kind == "real" for column in columns) else 0
    if copies < _FEWEST_COPIES:
        return
    shares = [float((rows[place].value_counts(normalize=True, dropna=False) ** 2).sum()) for place in rows]
    expected = len(rows) * (len(rows) - 1) / 2 * float(np.prod(shares))
    if copies > _ACCIDENTS * expected:
        yield (
            f"{copies} of {len(rows)} rows are copies of earlier ones, so that test rows may be known from training, and scores too good. "
            "Leave copies out, unless each stands for a case of its own."
        )
