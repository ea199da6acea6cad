"""Arrays of any dtype as float32, without a number lost unsaid."""

import numpy as np

_WHOLE_UP_TO = 2**24  # float32 holds every whole number up to here
_DOUBLE_UP_TO = 2**53


def as_float32(array: np.ndarray, name: str) -> np.ndarray:
    """Convert numbers ``[N, *X]`` to a float32 array of their own.

    Args:
        array: Numbers of any dtype.
        name: What the array is called in errors.

    Raises:
        ValueError: If there are no rows, values are no numbers or not finite in float32, or whole numbers would be rounded.
    """
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers; got dtype {array.dtype}. Encode the values as numbers.")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name} must have shape [N, *X], not empty; got {array.shape}. Give some rows.")
    with np.errstate(over="ignore"):
        values = np.array(array, np.float32)
    wrong = np.count_nonzero(~np.isfinite(values))
    if wrong:
        raise ValueError(f"{name} must be finite in float32; got {wrong} values that are not. Impute them.")
    if array.dtype.itemsize > 2 and max(values.max(), -values.min()) >= _WHOLE_UP_TO:
        _check_whole_numbers(array, values, name)
    return values


def _check_whole_numbers(array: np.ndarray, values: np.ndarray, name: str) -> None:
    """Refuse columns of whole numbers, such as identifiers and times, that float32 rounds; other numbers are rounded anyway."""
    columns, rounded = array.reshape(len(array), -1), values.reshape(len(array), -1)  # [N, D]
    for place in np.flatnonzero(np.abs(rounded).max(0) >= _WHOLE_UP_TO):
        column = columns[:, place]
        lost = np.flatnonzero(_is_changed(column, rounded[:, place]))
        if len(lost) and _are_whole(column):
            raise ValueError(
                f"{name}: column {place + 1} holds whole numbers beyond 2**24 that float32 cannot hold exactly, such as "
                f"{int(column[lost[0]])}. Drop the column if they are identifiers; otherwise, subtract a constant from "
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
