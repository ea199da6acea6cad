"""Warnings in one line each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import warnings


@contextmanager
def plain_warnings(words: Sequence[str]) -> Iterator[None]:
    """Print each warning once, in one line, without its place in the code, which means nothing to someone who runs a command.

    Only the text that Python prints is replaced: filters, and whoever records warnings, see them as they are. With ``--debug`` among
    the words, the text is Python's own.
    """
    before, said = warnings.formatwarning, set[str]()

    def one_line(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
        text = f"warning: {' '.join(str(message).split())}\n"
        is_new = text not in said
        said.add(text)
        return text if is_new else ""

    if "--debug" not in words:
        warnings.formatwarning = one_line
    try:
        yield
    finally:
        warnings.formatwarning = before
