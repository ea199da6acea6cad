"""Format numbers for tables, with no digits beyond their standard errors."""

from decimal import Decimal
from math import inf, isfinite, isnan, nan, sqrt

import pandas as pd

_FIXED_POINT = range(-8, 7)


def format_value(value: float, error: float) -> str:
    """Format a value, rounded at the leading digit of its standard error.

    The leading digit is that of the error as :func:`format_error` prints it, so that 0.0997 counts as 0.10.

    Args:
        value: The measured value; NaN yields an empty string.
        error: Its standard error. If it is zero, the value is exact and six significant digits are shown. If it is NaN, the
            error is unknown and two significant digits are shown. If it is infinite, no digit is known and ``?`` is shown.

    Returns:
        For example, ``"-88.8"`` for -88.812 with error 0.53, and ``"-90"`` for -88.812 with error 12.

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
    """Format a standard error with two significant digits.

    Args:
        error: The standard error, not negative; NaN yields an empty string.

    Returns:
        For example, ``"0.53"`` for 0.5271, and ``"10"`` for 9.97.

    Raises:
        ValueError: If ``error`` is negative.
    """
    _check_error(error)
    if isnan(error):
        return ""
    return format(error, "g") if error in (0, inf) else _at_place(error, _leading_place(error) - 1)


def format_with_error(value: float, error: float) -> str:
    """Format a value and its standard error, or the value alone if the error is zero or NaN.

    Args:
        value: As for :func:`format_value`.
        error: As for :func:`format_value`.

    Returns:
        For example, ``"-88.8 ± 0.53"``.

    Raises:
        ValueError: If ``error`` is negative.
    """
    number = format_value(value, error)
    return f"{number} ± {format_error(error)}" if isfinite(value) and error > 0 else number


def format_count(count: int, error: float) -> str:
    """Format a count, with its standard error where that is at least a tenth.

    >>> format_count(6, 0.45), format_count(6, 0.003)
    ('6.0 ± 0.45', '6')
    """
    return format_with_error(count, error) if error >= 0.1 else f"{count}"


def format_interval(lower: float, upper: float, error: float) -> str:
    """Format the ends of an interval, each rounded at the second digit of a standard error.

    Args:
        lower: The lower end; NaN yields an empty string.
        upper: The upper end.
        error: As for :func:`format_value`.

    Returns:
        For example, ``"-89.85 to -87.73"`` for an error of 0.53.

    Raises:
        ValueError: If ``error`` is negative.
    """
    return "" if isnan(lower) else " to ".join(format_value(end, error / 10) for end in (lower, upper))


def format_bias(bias: float) -> str:
    """Format a bias with two significant digits; NaN yields an empty string.

    Returns:
        For example, ``"-0.013"`` for -0.01284, and ``"0"`` for an exact value.
    """
    return format_value(bias, nan if bias else 0)


def format_fitted(num_fitted: int, size: int) -> str:
    """Say how many of some rows are among those that a model was fitted to, if any are."""
    which = "these are the rows" if num_fitted == size else f"{num_fitted} of these {size} rows are among those"
    return f"{which} that the model was fitted to"


def format_share(share: float, count: int) -> str:
    """Format a share of ``count`` data in percent, rounded at its binomial standard error.

    Args:
        share: The share, between 0 and 1; NaN yields an empty string.
        count: The number of data.

    Returns:
        For example, ``"3.1%"`` for 0.0312 of 1000.

    Raises:
        ValueError: If ``share`` is not between 0 and 1.
    """
    if isnan(share):
        return ""
    if not 0 <= share <= 1:
        raise ValueError(f"share must be between 0 and 1; got {share}. Divide by the number of data.")
    return format_value(100 * share, 100 * sqrt(share * (1 - share) / count)) + "%"


def markdown_table(table: pd.DataFrame) -> str:
    """Format a data frame of texts as a Markdown table, with its index on the left.

    Args:
        table: The data frame; cells, columns and index are written unchanged, with ``|`` escaped.

    Returns:
        The table, with one line per row and no final newline.
    """
    head = [["", *table.columns], ["---", *["---:"] * table.shape[1]]]
    rows = [[str(cell).replace("|", r"\|") for cell in row] for row in [*head, *table.itertuples()]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def spreadsheet_name(name: object) -> str:
    """A name for a CSV file: with a leading apostrophe if a spreadsheet would otherwise run it as a formula.

    >>> spreadsheet_name("=cmd()"), spreadsheet_name("runs/vamp")
    ("'=cmd()", 'runs/vamp')
    """
    return f"'{name}" if str(name).startswith(("=", "+", "-", "@", "\t", "\r")) else str(name)


def _check_error(error: float) -> None:
    if error < 0:
        raise ValueError(f"error must be zero or larger; got {error}. Pass a standard error.")


def _leading_place(number: float) -> int:
    """Return the power of ten of the leading digit of a number that is rounded to two significant digits."""
    return int(f"{number:.1e}".split("e")[1])


def _at_place(number: float, place: int) -> str:
    """Round a number at a power of ten, and use scientific notation if that power is far from one."""
    rounded = round(number, -place)
    if place in _FIXED_POINT:
        return f"{rounded:z.{max(-place, 0)}f}"
    return f"{rounded:.{Decimal(str(rounded)).adjusted() - place}e}" if rounded else "0"
