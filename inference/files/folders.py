"""Folders that commands write: checked before any work, and replaced once the new one is complete."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import shutil
import sys

from inference.files.claims import PARTIAL, claimed, dead_partials, is_live
from inference.files.contents import Kind, remove_ours, remove_temporary, strangers
from inference.files.manifest import MANIFEST, UNFINISHED, read_manifest, write_manifest
from inference.files.swap import swap


def checked_folder(out: Path, kind: Kind, *, overwrite: bool, beside: Iterable[Path] = (), within: Path | None = None) -> Path:
    """Return the folder that a path names, after checking that a command may create or replace it; links are followed.

    Args:
        out: Path of the new folder, or of a link to it.
        kind: What the command writes.
        overwrite: Whether an existing folder may be replaced.
        beside: Runs that the command reads, and which the new one must not be or hold.
        within: The one finished folder in which the new one may lie.

    Raises:
        ValueError: If an existing file or folder must not be replaced, or the folder would lie in another finished one.
        OSError: If a folder cannot be created there.
    """
    folder = resolved(out)
    recover(folder)
    _check_place(folder)
    whole = folder.resolve()
    if any(whole in (run.resolve(), *run.resolve().parents) for run in beside):
        raise ValueError(f"{out} is or holds a run and would be replaced. Choose another --out.")
    around = next((parent for parent in whole.parents if read_manifest(parent) is not None), None)
    if around is not None and (within is None or not whole.is_relative_to(within.resolve())):
        raise ValueError(f"{out} lies in {around}, which pyro-lvm has written. Choose an --out outside of it.")
    _check_replaceable(folder, kind, overwrite=overwrite)
    return folder


@contextmanager
def replacing_folder(folder: Path, kind: Kind, *, overwrite: bool, worth_keeping: str, taken: Path | None = None) -> Iterator[Path]:
    """Create a folder ``folder.partial`` that gets a manifest and replaces ``folder`` once it is complete.

    If the work is interrupted, the partial folder is kept if it or one of its subfolders contains a file worth keeping, or if it is
    complete; otherwise, it is removed.

    Args:
        folder: Path of the new folder, from :func:`checked_folder`.
        kind: What is written.
        overwrite: Whether an existing folder may be replaced.
        worth_keeping: Name of a file for which unfinished work is kept.
        taken: An unfinished folder whose process is gone, in which the work goes on.

    Raises:
        ValueError: If the folder has come to hold files of others.
    """
    with claimed(folder, kind.command, taken) as partial:
        if taken is not None:
            remove_temporary(partial)
        try:
            yield partial
            write_manifest(partial, kind.command)
            _check_replaceable(folder, kind, overwrite=overwrite)
            earlier = swap(partial, folder)
        except BaseException as error:
            if any(any(partial.rglob(name)) for name in (worth_keeping, MANIFEST)):
                error.add_note(f"The work done so far is kept in {partial}.")
            elif (partial / UNFINISHED).is_file():  # and not the earlier folder, after the exchange of names
                shutil.rmtree(partial)
            raise
        (folder / UNFINISHED).unlink()
    if earlier is not None and not remove_ours(earlier, kind):
        print(f"{earlier} holds what others wrote into {folder} meanwhile: {_some(strangers(earlier, kind))}.", file=sys.stderr)


def recover(folder: Path) -> None:
    """Finish what a process that is gone had only to tidy up: a complete folder gets its name if it is free, as it is between two renames.

    A folder that already has its name loses the claim of that process.
    """
    if os.path.lexists(folder):
        with suppress(OSError):  # such as a file system that is only read
            if (folder / UNFINISHED).is_file() and read_manifest(folder) is not None and not is_live(folder):
                (folder / UNFINISHED).unlink()
        return
    for partial in reversed(dead_partials(folder)):
        if read_manifest(partial) is not None:
            os.replace(partial, folder)
            (folder / UNFINISHED).unlink()
            print(f"{folder} was complete in {partial.name}, and has its name now.", file=sys.stderr)
            return


def resolved(out: Path) -> Path:
    """Return the folder that a path names, as the user wrote it unless there are links or dots in it.

    Raises:
        ValueError: If links lead to one another, or the name is one of unfinished folders.
    """
    try:
        whole = out.resolve()
    except RuntimeError as error:  # a loop of links
        raise ValueError(f"{out} must be a folder; got links that lead to one another. Choose another --out.") from error
    if PARTIAL.fullmatch(whole.name):
        raise ValueError(f"{out} has the name of an unfinished folder, which ends in .partial. Choose another --out.")
    return out if out.name and out.absolute() == whole else whole


def _check_place(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} must be a folder; got a file. Choose another --out.")
    if Path.cwd().is_relative_to(folder.resolve()):
        raise ValueError(f"{folder} is or holds the current folder, which cannot be replaced. Choose another --out.")
    if os.path.ismount(folder):
        raise ValueError(f"{folder} is where a disk is mounted, which cannot be replaced. Choose a folder in it as --out.")
    above = next(parent for parent in folder.absolute().parents if os.path.lexists(parent))
    if not above.is_dir():
        raise OSError(f"{folder} cannot be written: {above} is not a folder. Choose another --out.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise OSError(f"{folder} cannot be written: no permission for {above}. Choose another --out.")


def _check_replaceable(folder: Path, kind: Kind, *, overwrite: bool) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        return
    others = strangers(folder, kind)
    if others:
        raise ValueError(
            f"{folder} can be replaced only if it holds nothing but what pyro-lvm has written; {_some(others)} was not written by it, or "
            "has been changed since, and is kept. Move it, or choose another --out."
        )
    manifest = read_manifest(folder)
    if not (kind.is_finished(folder) if manifest is None else manifest.command == kind.command):
        raise ValueError(f"{folder} is not what pyro-lvm {kind.command} writes, and is kept. Choose another --out.")
    if not overwrite:
        raise ValueError(f"{folder} already exists. Choose another --out, or replace it with --overwrite.")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")
