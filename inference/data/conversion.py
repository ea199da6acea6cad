"""Numbers of any dtype as float32, without a number lost unsaid."""

from collections.abc import Iterator

import numpy as np

from pyro_lvm.rows.values import Computed, Held, Values

_WHOLE_UP_TO = 2**24  # float32 holds every whole number up to here
_DOUBLE_UP_TO = 2**53


def checked(array: np.ndarray | Values, name: str) -> Values:
    """Check that numbers ``[N, *X]`` are finite in float32, a part at a time, and keep a copy of those that are in memory.

    Args:
        array: Numbers of any dtype. Small integers stay what they are; other numbers in memory become float32.
        name: What they are called in errors.

    Raises:
        ValueError: If there are no rows, values are no numbers or not finite in float32, or whole numbers would be rounded.
    """
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers; got dtype {array.dtype}. Encode the values as numbers.")
    if len(array.shape) == 0 or array.size == 0:
        raise ValueError(f"{name} must have shape [N, *X], not empty; got {array.shape}. Give some rows.")
    values = array if isinstance(array, Values) else Held(array)
    if not _is_small(values.dtype):
        _check_finite(values, name)
    if not isinstance(array, Values):
        values = Held(np.array(array, dtype=array.dtype if _is_small(array.dtype) else np.float32))
    return values


def as_float32(values: Values) -> Values:
    """Numbers as float32, converted where they are read."""
    if values.dtype == np.float32 and values.dtype.isnative:
        return values
    return Computed(values, lambda rows, places: rows.astype(np.float32), np.float32)


def _is_small(dtype: np.dtype) -> bool:
    return dtype.kind in "biu" and dtype.itemsize <= 2


def _check_finite(values: Values, name: str) -> None:
    wrong = 0
    lost: dict[int, int] = {}
    for columns, rounded in _rounded(values):
        wrong += int(np.count_nonzero(~np.isfinite(rounded)))
        if not wrong and values.dtype.itemsize > 2 and max(rounded.max(), -rounded.min()) >= _WHOLE_UP_TO:
            lost = _lost(columns, rounded) | lost
    if wrong:
        raise ValueError(f"{name} must be finite in float32; got {wrong} values that are not. Impute them.")
    _check_whole_numbers(values, lost, name)


def _rounded(values: Values) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield parts of the rows as tables ``[n, D]``, as they are and in float32."""
    for part in values.parts():
        columns = part.reshape(len(part), -1)
        with np.errstate(over="ignore"):
            yield columns, columns.astype(np.float32)


def _lost(columns: np.ndarray, rounded: np.ndarray) -> dict[int, int]:
    """The first number that float32 changes, by the place of its column, of columns that hold large numbers."""
    found = {}
    for place in np.flatnonzero(np.abs(rounded).max(0) >= _WHOLE_UP_TO):
        changed = np.flatnonzero(_is_changed(columns[:, place], rounded[:, place]))
        if len(changed):
            found[int(place)] = int(columns[changed[0], place])
    return found


def _check_whole_numbers(values: Values, lost: dict[int, int], name: str) -> None:
    """Refuse columns of whole numbers, such as identifiers and times, that float32 rounds; other numbers are rounded anyway."""
    whole = dict.fromkeys(sorted(lost), True)
    for columns, _ in _rounded(values) if lost else ():
        whole = {place: still and _are_whole(columns[:, place]) for place, still in whole.items()}
    for place in (place for place, still in whole.items() if still):
        raise ValueError(
            f"{name}: column {place + 1} holds whole numbers beyond 2**24 that float32 cannot hold exactly, such as "
            f"{lost[place]}. Drop the column if they are identifiers; otherwise, subtract a constant from "
            "them or divide them by one."
        )


def _is_changed(column: np.ndarray, rounded: np.ndarray) -> np.ndarray:
    if column.dtype.kind == "f":
        return column != rounded
    ends = np.iinfo(column.dtype)
    wide = rounded.astype(np.float64)  # in float64, the ends are exact or one too large
    is_inside = (wide >= float(ends.min)) & (wide < float(ends.max))
    back = np.where(is_inside, wide, 0).astype(column.dtype)
    return ~is_inside | (back != column)


def _are_whole(column: np.ndarray) -> bool:
    if column.dtype.kind != "f":
        return True
    return bool(np.abs(column).max() <= _DOUBLE_UP_TO and (column == np.rint(column)).all())
