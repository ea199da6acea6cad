"""Errors in one line, and the end of a process that the system stops."""

from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
import signal
import sys
from tempfile import NamedTemporaryFile
from threading import current_thread, main_thread
import traceback
from typing import NoReturn

_USERS = (ValueError, TypeError, OSError, ImportError, FloatingPointError, ArgumentError)  # what the user can correct
_LOWER = "Lower what takes memory: --fit.batch_size, the numbers of particles or draws, the sizes of the model, or the number of data."


class Terminated(KeyboardInterrupt):
    """The system asked this process to end (SIGTERM)."""


@contextmanager
def reported_errors(words: Sequence[str]) -> Iterator[None]:
    """Print an error in one line and exit: with status 2 if the user can correct it, 130 or 143 if interrupted, and otherwise 1.

    The traceback of an error of ours goes to a file beside the run. With ``--debug`` among the words, every traceback is shown.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in words and isinstance(error, Exception):
            traceback.print_exception(error)
        if isinstance(error, Terminated):
            _say_and_exit("terminated.", error, 143)
        if isinstance(error, KeyboardInterrupt):
            _say_and_exit("interrupted.", error, 130)
        if _is_out_of_memory(error):
            _say_and_exit("error: out of memory:", error, 2, f". {_LOWER}")
        if place := _own_line(error):
            _say_and_exit(f"error: {place}: {type(error).__name__}:", error, 2)
        if isinstance(error, _USERS):
            _say_and_exit("error:", error, 2)
        where = "" if "--debug" in words else f"; the traceback is in {_keep_traceback(error, _beside(words))}"
        _say_and_exit(f"error: unexpected {type(error).__name__}:", error, 1, f"{where}.")


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the process as Ctrl-C does, so that what must be tidied up or kept is."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def _is_out_of_memory(error: BaseException) -> bool:
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in str(error) for word in words))


def _own_line(error: BaseException) -> str:
    """The line of a file of the user's own in which an error arose, or nothing."""
    loaded = sys.modules.get("inference.recipes.user_code")  # only if a file was loaded, as the module takes time to import
    return "" if loaded is None else loaded.own_line(error)


def _beside(words: Sequence[str]) -> Path:
    """The folder that holds or will hold the run which the words name."""
    named = [after for word, after in pairwise(part for word in words for part in word.split("=", 1)) if word == "--out"]
    return Path((named or [word for word in words[:1] if not word.startswith("-")] or ["."])[0]).parent


def _keep_traceback(error: BaseException, folder: Path) -> str:
    for place in (folder, None):
        try:
            with NamedTemporaryFile("w", dir=place, prefix="pyro-lvm-", suffix=".traceback.txt", delete=False, encoding="utf-8") as file:
                traceback.print_exception(error, file=file)
        except OSError:
            continue
        return file.name
    return "no file, as none can be written; --debug shows it"


def _say_and_exit(what: str, error: BaseException, status: int, after: str = "") -> NoReturn:
    words = " ".join([what, f"{error}".splitlines()[0].rstrip(".") if after and f"{error}" else f"{error}"])
    words = " ".join([words + after, *getattr(error, "__notes__", [])])
    print(" ".join(words.split()), file=sys.stderr)
    sys.exit(status)
