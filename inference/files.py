"""Files and folders that are replaced completely or not at all."""

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
    """Check that a folder may be created or replaced.

    Args:
        folder: Path of the new folder.
        overwrite: Whether an existing folder may be replaced.
        marker: Name of a file that an existing folder must contain to be replaced.

    Raises:
        ValueError: If an existing file or folder must not be replaced.
    """
    if folder.is_file():
        raise ValueError(f"{folder} must be a folder; got a file. Choose another --out.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise ValueError(f"{folder} already exists. Choose another --out, or replace it with --overwrite.")
    if not (folder / marker).is_file():
        raise ValueError(f"{folder} must hold {marker} to be replaced, but does not. Choose another --out.")


@contextmanager
def replacing_folder(folder: Path, *, overwrite: bool, marker: str, worth_keeping: str) -> Iterator[Path]:
    """Create a folder ``folder.partial`` that replaces ``folder`` once it is complete.

    If the work is interrupted, the partial folder is kept if it or one of its subfolders contains a file worth keeping; otherwise, it
    is removed.

    Args:
        folder: Path of the new folder.
        overwrite: Whether an existing folder may be replaced.
        marker: Name of a file that an existing folder must contain to be replaced.
        worth_keeping: Name of a file for which unfinished work is kept.

    Raises:
        ValueError: As for :func:`check_replaceable`.
    """
    check_replaceable(folder, overwrite=overwrite, marker=marker)
    partial = _new_folder(folder)
    try:
        yield partial
    except BaseException as error:
        if any(partial.rglob(worth_keeping)):
            error.add_note(f"The work done so far is kept in {partial}.")
        else:
            shutil.rmtree(partial)
        raise
    check_replaceable(folder, overwrite=overwrite, marker=marker)
    _swap(partial, folder)


def _new_folder(folder: Path) -> Path:
    """Create and return the first of ``folder.partial``, ``folder.partial2``, ... that does not exist."""
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
    """Write plain values to a YAML file."""
    plain = json.loads(json.dumps(values))  # turns types such as PositiveInt, which YAML cannot represent, into plain numbers
    with replacing_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


@contextmanager
def replacing_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file beside ``path``, with the same suffix, that replaces it once complete and is removed otherwise."""
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{get_ident()}.part{path.suffix}")  # short, as names have a limit
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
