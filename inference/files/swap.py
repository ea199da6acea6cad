"""A finished folder gets its name, in one step where the system has one for it."""

import ctypes
import errno
from itertools import count
import os
from pathlib import Path

from inference.files.atomic import flush

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def swap(new: Path, folder: Path) -> Path | None:
    """Give a new folder the name of another one, which may hold files, be empty, or not exist.

    Returns:
        Where the earlier folder is now, or ``None`` if there was none or it was empty.
    """
    if not folder.exists() or not any(folder.iterdir()):
        os.replace(new, folder)
        earlier = None
    elif _exchange(new, folder):
        earlier = new
    else:
        earlier = _in_two_steps(new, folder)
    flush(folder.parent)
    return earlier


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders; return false where the system or the file system cannot do it."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNKNOWN:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _in_two_steps(new: Path, folder: Path) -> Path:
    """Rename twice; if the process ends in between, :func:`~inference.files.folders.recover` takes the second step."""
    names = (folder.with_name(f"{new.name}.old{number or ''}") for number in count())
    earlier = next(path for path in names if not path.exists())
    os.replace(folder, earlier)
    try:
        os.replace(new, folder)
    except OSError:
        os.replace(earlier, folder)
        raise
    return earlier
