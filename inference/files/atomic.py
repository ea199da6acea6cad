"""A file that is written beside its place and renamed: after a crash, there is the old one or the new one, and no half of either."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import re
import stat
from threading import get_ident

TEMPORARY = re.compile(r"\.\d+-\d+\.part(\..*)?")


@contextmanager
def atomic_file(path: Path, *, before_rename: Callable[[Path], object] = lambda temporary: None) -> Iterator[Path]:
    """Yield a temporary file beside ``path``, with the same suffix, that replaces it once complete and is removed otherwise.

    The file is on the disk, not only in memory, before it gets its name; its mode is that of any new file, as the umask says.

    Args:
        path: Path of the file.
        before_rename: Called with the complete temporary file.

    Raises:
        OSError: If the file cannot be written, for one because the disk is full; an existing file is then unchanged.
    """
    temporary = path.with_name(f".{os.getpid()}-{get_ident()}.part{path.suffix}")  # short, as names have a limit
    try:
        mode = _create(temporary)
        yield temporary
        temporary.chmod(mode)  # safetensors makes files that only their owner can read
        flush(temporary)
        before_rename(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}. What was there before is kept.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Write a file, or the names in a folder, from the system's memory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not path.is_dir():  # not every file system can do it for folders
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


def _create(path: Path) -> int:
    """Create an empty file and return its mode."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
