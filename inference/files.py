"""Files and folders that are replaced whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
import json
import os
from pathlib import Path
import shutil
from threading import get_ident

import yaml


def check_replaceable(folder: Path, *, overwrite: bool, marker: str) -> None:
    """Refuses a folder that must not be replaced.

    Args:
        folder: Where a new folder is to go.
        overwrite: Whether an earlier one may be replaced.
        marker: A file that an earlier one must hold to be replaced.

    Raises:
        ValueError: If there is an earlier one that is in the way.
    """
    if folder.is_file():
        raise ValueError(f"{folder} must be a folder; got a file. Choose another --out.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise ValueError(f"{folder} exists already. Choose another --out, or replace it with --overwrite.")
    if not (folder / marker).is_file():
        raise ValueError(f"{folder} must hold {marker} to be replaced, and does not. Choose another --out.")


@contextmanager
def replacing_folder(folder: Path, *, overwrite: bool, marker: str, worth_keeping: str) -> Iterator[Path]:
    """A new folder ``folder.partial`` that takes the place of ``folder`` once it is complete.

    If the work is interrupted, it stays where it is once it, or a folder in it, holds a file worth keeping; else it is removed.

    Args:
        folder: Where the new folder is to go.
        overwrite: Whether an earlier one may be replaced.
        marker: A file that an earlier one must hold to be replaced.
        worth_keeping: Name of the file for whose sake unfinished work is kept.

    Raises:
        ValueError: As :func:`check_replaceable`.
    """
    check_replaceable(folder, overwrite=overwrite, marker=marker)
    partial = _new_folder(folder)
    try:
        yield partial
    except BaseException as error:
        if any(partial.rglob(worth_keeping)):
            error.add_note(f"What was done so far stays in {partial}.")
        else:
            shutil.rmtree(partial)
        raise
    check_replaceable(folder, overwrite=overwrite, marker=marker)
    _swap(partial, folder)


def _new_folder(folder: Path) -> Path:
    """The first of ``folder.partial``, ``folder.partial2``, ... that does not exist, made."""
    numbers = count(2)
    partial = folder.with_name(f"{folder.name}.partial")
    while True:
        try:
            partial.mkdir(parents=True)
        except FileExistsError:
            partial = folder.with_name(f"{folder.name}.partial{next(numbers)}")
        except OSError as error:
            raise OSError(f"{folder} cannot be written: {error.strerror}. Choose another --out.") from error
        else:
            return partial


def _swap(new: Path, folder: Path) -> None:
    if not folder.exists():
        os.replace(new, folder)
        return
    old = folder.with_name(f"{new.name}.old")
    os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old)


def write_yaml(path: Path, values: dict[str, object]) -> None:
    """Writes plain values to a file."""
    plain = json.loads(json.dumps(values))  # numbers that only PositiveInt and the like wrap
    path.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


@contextmanager
def replacing_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside ``path``, with its suffix, that takes its place once it is complete, and is removed if it never is."""
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{get_ident()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
