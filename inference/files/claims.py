"""A folder that is being written, ``NAME.partial``: what it is to become, and whether the process that writes it is still there."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import count
import json
import os
from pathlib import Path
import re
import socket

from inference.files.locks import is_locked, lock, taken_lock
from inference.files.manifest import UNFINISHED, library_version
from inference.files.writing import named_errors

PARTIAL = re.compile(r"(?P<name>.+)\.partial\d*(\.old\d*)?")


@dataclass(frozen=True)
class Claim:
    """Who writes a folder, kept in it as ``unfinished.json`` until it has its name.

    Attributes:
        name: The name that the folder is to have; it lies beside its place.
        command: The command.
        pid: Its process.
        host: The machine.
        started: When it began, in UTC.
        pyro_lvm: Version of the library.
    """

    name: str
    command: str
    pid: int
    host: str
    started: str
    pyro_lvm: str


@contextmanager
def claimed(folder: Path, command: str, taken: Path | None = None) -> Iterator[Path]:
    """Create the first of ``folder.partial``, ``folder.partial2``, ... that does not exist, or take over a dead one, and hold its lock.

    Raises:
        ValueError: If another process has taken it over.
        OSError: If no folder can be created there.
    """
    if taken is not None:
        with taken_lock(taken / UNFINISHED) as is_ours:
            if not is_ours:
                raise ValueError(f"another process is writing {folder} (in {taken}), or has finished it. Wait for it, or stop it.")
            with _claimed(folder, command, taken):
                yield taken
        return
    partial = _new_folder(folder)
    with _claimed(folder, command, partial):
        yield partial


@contextmanager
def _claimed(folder: Path, command: str, partial: Path) -> Iterator[None]:
    """Write who writes a folder, and hold the lock of that file."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    claim = Claim(folder.name, command, os.getpid(), socket.gethostname(), now, library_version())
    unlocked = partial / f".{os.getpid()}-0.part.json"
    try:
        with named_errors(partial / UNFINISHED):
            unlocked.write_text(json.dumps(asdict(claim), indent=1) + "\n", encoding="utf-8")
    except OSError:
        unlocked.unlink(missing_ok=True)
        with suppress(OSError):  # not empty, but for a new folder
            partial.rmdir()
        raise
    with lock(unlocked):  # before it has its name, so that it is never seen without a lock
        os.replace(unlocked, partial / UNFINISHED)
        yield


def read_claim(folder: Path) -> Claim | None:
    """Return who writes, or wrote, an unfinished folder; ``None`` if it is none."""
    try:
        return Claim(**json.loads((folder / UNFINISHED).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_live(folder: Path) -> bool:
    """Whether the process that writes an unfinished folder may still be running."""
    return is_locked(folder / UNFINISHED)


def dead_partials(folder: Path) -> list[Path]:
    """The unfinished folders beside a folder that were to become it and whose processes are gone, oldest first."""
    return [path for path in _partials(folder) if not is_live(path)]


def live_partials(folder: Path) -> list[Path]:
    """The unfinished folders beside a folder that processes may still be writing, oldest first."""
    return [path for path in _partials(folder) if is_live(path)]


def _partials(folder: Path) -> list[Path]:
    if not folder.parent.is_dir():
        return []
    beside = [path for path in folder.parent.iterdir() if PARTIAL.fullmatch(path.name) and not path.is_symlink()]
    ours = [path for path in beside if (claim := read_claim(path)) is not None and claim.name == folder.name]
    return sorted(ours, key=lambda path: path.stat().st_mtime)


def _new_folder(folder: Path) -> Path:
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
