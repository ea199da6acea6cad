"""What commands have left in a folder: finished folders, unfinished ones, and what remains of processes that were killed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import time

from inference.files.atomic import TEMPORARY
from inference.files.claims import PARTIAL, is_live, read_claim
from inference.files.contents import Kind, remove_empty, remove_ours
from inference.files.manifest import all_files, read_manifest

FINISHED, RUNNING, UNFINISHED, LEFT_OVER = "finished", "being written", "unfinished", "left over"
_QUIET_SECONDS = 3600  # a file of another machine's process is not taken for dead while it is being written


@dataclass(frozen=True)
class Found:
    """A folder, or a temporary file, that a command has written.

    Attributes:
        path: Its path.
        kind: What it is; ``None`` for a temporary file, or a folder that was only just begun.
        state: ``"finished"``; ``"being written"`` by a process that is running; ``"unfinished"``, by one that is gone, but with work in
            it; or ``"left over"``, of which nothing is lost.
        num_bytes: Size of its files.
        modified: When its latest file was written, in seconds since 1970.
    """

    path: Path
    kind: Kind | None
    state: str
    num_bytes: int
    modified: float

    def remove(self) -> bool:
        """Remove it, but for files of others; return whether nothing is left."""
        if self.kind is not None:
            return remove_ours(self.path, self.kind)
        if self.path.is_dir():
            return remove_empty(self.path)
        self.path.unlink(missing_ok=True)
        return True


def find_folders(folder: Path, kinds: Sequence[Kind], *, worth_keeping: str) -> Iterator[Found]:
    """Yield what commands have written into a folder and its subfolders.

    Args:
        folder: An existing folder.
        kinds: What commands write.
        worth_keeping: Name of a file for which unfinished work is kept.
    """
    for place, subfolders, names in os.walk(folder):
        path = Path(place)
        kind = _kind_of(path, kinds)
        if kind is not None:
            subfolders.clear()
            files = [*all_files(path), path]
            num_bytes = sum(file.lstat().st_size for file in files[:-1])
            yield Found(path, kind, _state(path, worth_keeping), num_bytes, max(file.lstat().st_mtime for file in files))
            names = [str(file.relative_to(path)) for file in path.rglob(".*") if TEMPORARY.fullmatch(file.name)]
        elif PARTIAL.fullmatch(path.name) and not any(all_files(path)):
            yield Found(path, None, LEFT_OVER if _is_quiet(path) else RUNNING, 0, path.stat().st_mtime)
        for file in (path / name for name in sorted(names)):
            if TEMPORARY.fullmatch(file.name) and file.is_file():
                stat = file.stat()
                yield Found(file, None, LEFT_OVER if _is_dead(file) else RUNNING, stat.st_size, stat.st_mtime)


def _kind_of(path: Path, kinds: Sequence[Kind]) -> Kind | None:
    note = read_manifest(path) or read_claim(path)
    if note is not None:
        return next((kind for kind in kinds if kind.command == note.command), None)
    return next((kind for kind in kinds if kind.is_finished(path)), None)


def _state(path: Path, worth_keeping: str) -> str:
    partial, claim, manifest = PARTIAL.fullmatch(path.name), read_claim(path), read_manifest(path)
    if claim is not None and is_live(path):
        return RUNNING
    if partial is None:
        return FINISHED if claim is None or manifest is not None else UNFINISHED
    if claim is None:  # the earlier folder, after an exchange of names
        return LEFT_OVER if path.with_name(partial["name"]).exists() else UNFINISHED
    return UNFINISHED if manifest is not None or any(path.rglob(worth_keeping)) else LEFT_OVER


def _is_quiet(path: Path) -> bool:
    return time.time() - path.stat().st_mtime >= _QUIET_SECONDS


def _is_dead(file: Path) -> bool:
    """Whether the process that wrote a temporary file, whose name begins with its number, is gone."""
    if not _is_quiet(file):
        return False
    try:
        os.kill(int(file.name[1:].partition("-")[0]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
