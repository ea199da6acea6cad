"""The manifest of a folder: which files in it were written here, with their sizes and checksums."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import file_digest
from importlib.metadata import PackageNotFoundError, version
import json
import os
from pathlib import Path

from inference.files.atomic import TEMPORARY, atomic_file, flush
from inference.files.locks import lock

MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"
FORMAT = 1
Entry = dict[str, object]


@dataclass(frozen=True)
class Manifest:
    """What a folder holds.

    Attributes:
        command: The command that wrote the folder.
        files: For each file, by its path from the folder, the sizes and checksums that it may have: of what was written last, and,
            where it replaced another file, of that one, since a crash may leave either.
        pyro_lvm: Version of the library.
        format: Version of this format.
    """

    command: str
    files: dict[str, list[Entry]]
    pyro_lvm: str
    format: int = FORMAT


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a folder; ``None`` if there is none that this version can read."""
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # no such file, or one of another program
        return None
    return manifest if manifest.format == FORMAT and isinstance(manifest.files, dict) else None


def write_manifest(folder: Path, command: str) -> None:
    """List all files in a folder and its subfolders in its manifest, which is written last, when all of them are on the disk."""
    files = {}
    for path in all_files(folder):
        if path.name not in (MANIFEST, UNFINISHED):
            flush(path)
            files[path.relative_to(folder).as_posix()] = [describe(path)]
    for place, _, _ in os.walk(folder):
        flush(Path(place))
    _write(folder, Manifest(command, files, library_version()))


def register(path: Path, content: Path) -> None:
    """List a file that is about to get its content in the manifest of the nearest folder above it that has one.

    Folders that are still being written are left alone, as their manifests are written last.
    """
    for folder in path.absolute().parents:
        if read_manifest(folder) is not None:
            with lock(folder):
                _add(folder, path.absolute().relative_to(folder).as_posix(), describe(content))
            return
        if (folder / UNFINISHED).is_file():
            return


def is_listed(path: Path, folder: Path, manifest: Manifest) -> bool:
    """Whether a file in a folder is as its manifest says."""
    entries = manifest.files.get(path.relative_to(folder).as_posix(), [])
    return path.stat().st_size in [entry.get("size") for entry in entries] and describe(path) in entries


def all_files(folder: Path) -> Iterator[Path]:
    """Yield all files in a folder and its subfolders, and links, which are not followed; the library's temporary files are left out."""
    for place, subfolders, names in os.walk(folder):
        links = [name for name in subfolders if Path(place, name).is_symlink()]
        yield from (Path(place, name) for name in sorted(names + links) if not TEMPORARY.fullmatch(name))


def describe(path: Path) -> Entry:
    """The size and the checksum of a file."""
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": file_digest(file, "sha256").hexdigest()}


def library_version() -> str:
    """The version of pyro-lvm."""
    try:
        return version("pyro-lvm")
    except PackageNotFoundError:
        return "unknown"


def _add(folder: Path, name: str, entry: Entry) -> None:
    manifest = read_manifest(folder)
    if manifest is not None:
        earlier = [kept for kept in manifest.files.get(name, [])[-1:] if kept != entry]
        manifest.files[name] = [*earlier, entry]
        _write(folder, manifest)


def _write(folder: Path, manifest: Manifest) -> None:
    with atomic_file(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")
