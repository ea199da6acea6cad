"""What a folder holds: files that were written here, and files of others, which are never removed."""

from contextlib import suppress
from dataclasses import dataclass
import os
from pathlib import Path
import re

from inference.files.atomic import TEMPORARY
from inference.files.claims import PARTIAL, is_live, read_claim
from inference.files.manifest import MANIFEST, UNFINISHED, all_files, is_listed, read_manifest


@dataclass(frozen=True)
class Kind:
    """A kind of folder that a command writes.

    Attributes:
        command: The command.
        holds: Files that every finished folder of this kind holds.
        names: Matches the paths, from the folder, of all files that commands write into it; for folders without a manifest, as version
            0.1 wrote them, and for unfinished ones, these are the files taken for ours.
    """

    command: str
    holds: tuple[str, ...]
    names: re.Pattern[str]

    def is_finished(self, folder: Path) -> bool:
        """Whether a folder holds what every finished folder of this kind does."""
        return all((folder / name).is_file() for name in self.holds)


def strangers(folder: Path, kind: Kind) -> list[str]:
    """Paths, from a folder, of the files in it that were not written here, or have been changed since."""
    return [path.relative_to(folder).as_posix() for path in all_files(folder) if not _is_ours(path, folder, kind)]


def remove_ours(folder: Path, kind: Kind) -> bool:
    """Remove a folder, but for strangers' files; the manifest goes last. Return whether nothing is left."""
    ours = [path for path in all_files(folder) if _is_ours(path, folder, kind)]
    for path in sorted(ours, key=lambda path: (path.name == MANIFEST, -len(path.parts))):
        path.unlink()
    return remove_empty(folder)


def remove_empty(folder: Path) -> bool:
    """Remove a folder and its subfolders as far as they hold nothing but temporary files; return whether nothing is left."""
    remove_temporary(folder)
    for place, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # not empty
            Path(place).rmdir()
    return not folder.exists()


def remove_temporary(folder: Path) -> None:
    """Remove the temporary files that a process which is gone has left in a folder and its subfolders."""
    for place, _, names in os.walk(folder):
        for name in filter(TEMPORARY.fullmatch, names):
            Path(place, name).unlink()


def _is_ours(path: Path, folder: Path, kind: Kind) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    if path.name == MANIFEST:
        return read_manifest(path.parent) is not None
    if path.name == UNFINISHED:
        return read_claim(path.parent) is not None
    try:
        return _is_known(path, folder, kind)
    except OSError:  # such as a file that cannot be read
        return False


def _is_known(path: Path, folder: Path, kind: Kind) -> bool:
    """Whether a file is listed in the nearest manifest or, where there is none or it is not yet written, has a name that we write."""
    has_name = kind.names.fullmatch(_final(path.relative_to(folder))) is not None
    for place in path.parents:
        manifest = read_manifest(place)
        if manifest is not None:
            return is_listed(path, place, manifest) and (has_name or place == folder)
        if read_claim(place) is not None:
            return has_name and not is_live(place)
        if place == folder:
            break
    return has_name


def _final(path: Path) -> str:
    """A path as it will be once no folder in it is partial."""
    return "/".join(match["name"] if (match := PARTIAL.fullmatch(part)) else part for part in path.parts)
