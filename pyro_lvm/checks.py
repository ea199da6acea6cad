"""Checks of arguments, whose errors say what was expected, what was given and what to do, and warnings that name the caller's line."""

from numbers import Integral, Real
import sys
import warnings

from torch import nn

SEEDS, SKLEARN_SEEDS = 2**63, 2**32  # seeds lie below these, scikit-learn's below the second


def check_counts(least: int = 1, /, **counts: Integral | int | None) -> None:
    """Check that every count is an integer of at least ``least``, or None.

    Raises:
        ValueError: If one is not; the error names it.
    """
    for name, count in counts.items():
        if count is not None and (isinstance(count, bool) or not isinstance(count, Integral) or count < least):
            raise ValueError(f"{name} must be an integer of at least {least}; got {count!r}.")


def check_seeds(**seeds: object) -> None:
    """Check that every seed is an integer from 0 to 2^63 - 1, which generators take and files hold.

    Raises:
        ValueError: If one is not; the error names it.
    """
    for name, seed in seeds.items():
        if isinstance(seed, bool) or not isinstance(seed, Integral):
            raise ValueError(f"{name} must be an integer; got {seed!r}.")
        if not 0 <= int(seed) < SEEDS:
            raise ValueError(f"{name} must be an integer of at least 0 and below 2**63; got {seed!r}.")


def check_positive(**numbers: float | None) -> None:
    """Check that every number is positive and finite, or None.

    Raises:
        ValueError: If one is not; the error names it.
    """
    for name, number in numbers.items():
        if number is not None and not (_is_number(number) and 0 < number < float("inf")):
            raise ValueError(f"{name} must be positive and finite; got {number!r}.")


def check_flags(**flags: object) -> None:
    """Check that every option is True or False.

    Raises:
        ValueError: If one is not; the error names it.
    """
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise ValueError(f"{name} must be True or False; got {flag!r}.")


def check_callable(remedy: str, /, **functions: object) -> None:
    """Check that every option is callable, or None.

    Raises:
        TypeError: If one is not; the error names it and the remedy.
    """
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be callable; got {type(function).__name__}. {remedy}")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def check_types(kind: type, remedy: str, /, **values: object) -> None:
    """Check that every value is of the given type.

    Raises:
        TypeError: If one is not; the error names it and the remedy.
    """
    expected = "torch.nn.Module" if kind is nn.Module else kind.__name__
    for name, value in values.items():
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {expected}; got {type(value).__name__}. {remedy}")


def warn_caller(message: str) -> None:
    """Issue a warning at the line outside this library from which the call came."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in ("pyro_lvm", "inference"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
