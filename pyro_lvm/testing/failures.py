"""Failed checks, in one form: name, expected, got, remedy."""

from collections.abc import Iterator
from contextlib import contextmanager


def require(holds: object, name: str, expected: str, got: object, remedy: str) -> None:
    """Raise an error unless something holds.

    Raises:
        AssertionError: If it does not.
    """
    if not holds:
        raise AssertionError(f"{name}: expected {expected}; got {got}. {remedy}")


@contextmanager
def working(name: str, what: str, remedy: str) -> Iterator[None]:
    """Turn an exception within a ``with`` block into a failed check.

    Raises:
        AssertionError: In place of any exception.
    """
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{name}: expected {what} to work; got {type(error).__name__}: {error}. {remedy}") from error
