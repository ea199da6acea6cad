"""Locks that end with the process that holds them, however it ends."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock of an existing file or folder, after waiting for it; where the file system has no locks, there is none to hold."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def taken_lock(path: Path) -> Iterator[bool]:
    """Hold the lock of a file if no other process does and the file is still there under its name; yield whether it is held."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_there = path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino
    except OSError:
        is_there = False
    try:
        yield is_there
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file; where that cannot be known, one may."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except OSError:
        return True
    else:
        return True
    finally:
        os.close(descriptor)
