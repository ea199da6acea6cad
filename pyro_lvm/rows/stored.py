"""Rows of numbers in files, read without a map of the file: what is read stays in the system's cache and costs the process nothing."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
import errno
import math
import os
from pathlib import Path
import tempfile
import weakref

import numpy as np

from pyro_lvm.rows.values import Values


class Open:
    """An open file, closed when nothing needs it any more.

    Args:
        number: Its descriptor, which is copied.
    """

    def __init__(self, number: int) -> None:
        self.number = os.dup(number)
        weakref.finalize(self, os.close, self.number)


class Stored(Values):
    """Rows of a file, one after the other from a byte on.

    Args:
        place: The path of the file, or a file without a name.
        offset: Byte at which the first row begins.
        shape: ``(N, *X)``.
        dtype: Dtype of the numbers in the file.
        name: What the rows are called in errors.
        stays_open: Whether a file with a path stays open between two readings; those of very many files do not.

    Raises:
        ValueError: If the file is too short for the shape.
    """

    is_streamed = True

    def __init__(
        self, place: Path | Open, offset: int, shape: tuple[int, ...], dtype: np.dtype, *, name: str, stays_open: bool = True
    ) -> None:
        self.place, self.offset, self.shape, self.dtype, self.name = place, offset, shape, dtype, name
        self.width, self.row = dtype.itemsize, math.prod(shape[1:]) * dtype.itemsize
        self.file = place if isinstance(place, Open) else None
        with self._opened() as number:
            self.file = Open(number) if stays_open else self.file
            self.state, size = _state(number), os.fstat(number).st_size
        if size < offset + len(self) * self.row:
            raise ValueError(f"it should hold shape {shape} of {dtype}, {len(self) * self.row} bytes, and ends before")

    def read(self, places: np.ndarray) -> np.ndarray:
        with self._opened() as number:
            if len(places) and (np.diff(places) == 1).all():
                content = _bytes(number, len(places) * self.row, self.offset + int(places[0]) * self.row)
            else:
                content = b"".join([os.pread(number, self.row, start) for start in (self.offset + places * self.row).tolist()])
            is_same = isinstance(self.place, Open) or _state(number) == self.state
        if len(content) != len(places) * self.row or not is_same:
            raise ValueError(f"{self.name} must stay as it is while its rows are read; it has changed. Start again with the file as it is.")
        return np.frombuffer(content, self.dtype).reshape(len(places), *self.shape[1:])

    @contextmanager
    def _opened(self) -> Iterator[int]:
        if self.file is not None:
            yield self.file.number
        else:
            with self.place.open("rb") as file:  # type: ignore[union-attr]  # only a path is not open
                yield file.fileno()


class Scratch:
    """A file without a name in the folder of temporary files, for rows that can only be read in order where they are."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile() as file:
            self.file, self.end = Open(file.fileno()), 0

    def append(self, rows: np.ndarray, name: str) -> None:
        """Write rows after those that the file has.

        Raises:
            OSError: If the disk is full; the error names the folder.
        """
        self._write(np.ascontiguousarray(rows).data.cast("B"), name)

    def unpacked(self, parts: Iterable[np.ndarray], name: str) -> Stored:
        """Write rows, some at a time and all of one dtype and shape, after those that the file has; raises as :meth:`append` does."""
        first, count, offset = None, 0, self.end
        for part in parts:
            first, count = (part[:0] if first is None else first), count + len(part)
            self.append(part, name)
        if first is None:
            raise ValueError(f"{name} must hold at least one row; got none.")
        return Stored(self.file, offset, (count, *first.shape[1:]), first.dtype, name=name)

    def _write(self, content: memoryview, name: str) -> None:
        try:
            while content:
                done = os.pwrite(self.file.number, content, self.end)
                content, self.end = content[done:], self.end + done
        except OSError as error:
            if error.errno not in FULL:
                raise
            where = f"{name}: it does not fit memory and is unpacked to {tempfile.gettempdir()}, the folder that TMPDIR names"
            raise OSError(error.errno, f"{where}: {error.strerror}") from error


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _bytes(number: int, size: int, start: int) -> bytes | bytearray:
    """Read bytes by as many calls as it takes, as the system returns at most 2 GiB from one."""
    content, done = bytearray(size), 0
    while done < size and (got := os.preadv(number, [memoryview(content)[done:]], start + done)):
        done += got
    return content if done == size else content[:done]


def _state(number: int) -> tuple[int, int, int]:
    found = os.fstat(number)
    return found.st_ino, found.st_size, found.st_mtime_ns
