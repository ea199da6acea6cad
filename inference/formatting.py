"""Numbers for tables: no digit beyond its error."""

from decimal import Decimal
from math import inf, isfinite, isnan, sqrt

import pandas as pd

_FIXED_POINT = range(-8, 7)


def format_value(value: float, error: float) -> str:
    """A value rounded at the leading digit of its standard error.

    The leading digit is that of the error as :func:`format_error` prints it, so that 0.0997 counts as 0.10.

    Args:
        value: What was measured; NaN gives an empty string.
        error: Its standard error. Zero: the value is exact, six significant digits are shown. NaN: the
            error is unknown, two significant digits are shown. Infinite: no digit is known, ``?`` is shown.

    Returns:
        For instance ``"-88.8"`` for -88.812 with error 0.53, ``"-90"`` for -88.812 with error 12.

    Raises:
        ValueError: If ``error`` is negative.
    """
    _check_error(error)
    if not isfinite(value):
        return "" if isnan(value) else str(value)
    if error == inf:
        return "?"
    if error == 0:
        return f"{value:z.6g}"
    return _at_place(value, _leading_place(value) - 1 if isnan(error) else _leading_place(error))


def format_error(error: float) -> str:
    """A standard error with two significant digits; an empty string if it is NaN.

    Args:
        error: Standard error, not negative.

    Returns:
        For instance ``"0.53"`` for 0.5271, ``"10"`` for 9.97.

    Raises:
        ValueError: If ``error`` is negative.
    """
    _check_error(error)
    if isnan(error):
        return ""
    return format(error, "g") if error in (0, inf) else _at_place(error, _leading_place(error) - 1)


def format_with_error(value: float, error: float) -> str:
    """A value and its standard error, ``"-88.8 ± 0.53"``; the value alone if the error is zero or NaN.

    Args:
        value: As for :func:`format_value`.
        error: As for :func:`format_value`.

    Returns:
        The text.

    Raises:
        ValueError: If ``error`` is negative.
    """
    number = format_value(value, error)
    return f"{number} ± {format_error(error)}" if isfinite(value) and error > 0 else number


def format_share(share: float, count: int) -> str:
    """The share of ``count`` data in percent, rounded at its binomial standard error; empty if it is NaN.

    Args:
        share: Between 0 and 1.
        count: The number of data that it is a share of.

    Returns:
        For instance ``"3.1%"`` for 0.0312 of 1000.

    Raises:
        ValueError: If ``share`` is not between 0 and 1.
    """
    if isnan(share):
        return ""
    if not 0 <= share <= 1:
        raise ValueError(f"share must be between 0 and 1; got {share}. Divide by the number of data.")
    return format_value(100 * share, 100 * sqrt(share * (1 - share) / count)) + "%"


def markdown_table(table: pd.DataFrame) -> str:
    """A data frame of finished texts as a Markdown table, its index to the left.

    Args:
        table: Cells, columns and index; written as they are, with ``|`` escaped.

    Returns:
        The table, one line a row, without a final newline.
    """
    head = [["", *table.columns], ["---", *["---:"] * table.shape[1]]]
    rows = [[str(cell).replace("|", r"\|") for cell in row] for row in [*head, *table.itertuples()]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _check_error(error: float) -> None:
    if error < 0:
        raise ValueError(f"error must be zero or larger; got {error}. Pass a standard error.")


def _leading_place(number: float) -> int:
    """The power of ten of the leading digit of a number, once it is rounded to two significant digits."""
    return int(f"{number:.1e}".split("e")[1])


def _at_place(number: float, place: int) -> str:
    """A number rounded at a power of ten; in scientific notation where that is far from one."""
    rounded = round(number, -place)
    if place in _FIXED_POINT:
        return f"{rounded:z.{max(-place, 0)}f}"
    return f"{rounded:.{Decimal(str(rounded)).adjusted() - place}e}" if rounded else "0"
