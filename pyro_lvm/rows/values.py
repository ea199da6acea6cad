"""Rows of numbers by their place, as NumPy arrays: in memory, chosen from others, joined, or computed from others when they are read."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
import math

import numpy as np

MOST_HELD = 2**26  # bytes of an array in a file that are read into memory, or of rows that become a tensor in memory
PART = 2**22  # bytes of a part that is read at a time, in float64
Compute = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of rows [B, *X] and their places [B]


class Values(ABC):
    """Numbers ``[N, *X]`` that are read a few rows at a time.

    Attributes:
        shape: ``(N, *X)``.
        dtype: Dtype of what is read.
        is_streamed: Whether they are too large for memory and come from a file.
        width: Bytes of a number where it is kept.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    is_streamed: bool
    width: int

    @abstractmethod
    def read(self, places: np.ndarray) -> np.ndarray:
        """Return the rows at some places ``[B]``, whole numbers from 0 to N - 1, as an array ``[B, *X]``."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of numbers in all rows."""
        return math.prod(self.shape)

    def whole(self) -> np.ndarray:
        """Read all rows."""
        return self.read(np.arange(len(self)))

    def parts(self) -> Iterator[np.ndarray]:
        """Yield all rows in order, some at a time."""
        for places in parts_of(self.shape):
            yield self.read(places)


def parts_of(shape: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the places of all rows of a shape ``(N, *X)`` in order, as many at a time as ``PART`` allows."""
    step = max(1, PART // (8 * max(1, math.prod(shape[1:]))))
    for start in range(0, shape[0], step):
        yield np.arange(start, min(start + step, shape[0]))


class Held(Values):
    """Numbers in memory."""

    is_streamed = False

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.width = array, array.shape, array.dtype, array.dtype.itemsize

    def read(self, places: np.ndarray) -> np.ndarray:
        return self.array.take(places, axis=0)

    def whole(self) -> np.ndarray:
        return self.array


class Computed(Values):
    """Numbers computed from others, row by row, whenever they are read.

    Args:
        values: The others, ``[N, *X]``.
        compute: Called with rows and their places; returns an array of their shape.
        dtype: Dtype of what ``compute`` returns.
    """

    def __init__(self, values: Values, compute: Compute, dtype: np.typing.DTypeLike) -> None:
        self.values, self.compute, self.dtype = values, compute, np.dtype(dtype)
        self.shape, self.is_streamed, self.width = values.shape, values.is_streamed, values.width

    def read(self, places: np.ndarray) -> np.ndarray:
        return self.compute(self.values.read(places), places)


class Chosen(Values):
    """Some rows of others, ``[N]`` places in these, and another shape of a row if one is given."""

    def __init__(self, values: Values, places: np.ndarray | None = None, shape: Sequence[int] | None = None) -> None:
        self.values, self.places = values, places
        self.shape = (len(values) if places is None else len(places), *(values.shape[1:] if shape is None else shape))
        self.dtype, self.is_streamed, self.width = values.dtype, values.is_streamed, values.width

    def read(self, places: np.ndarray) -> np.ndarray:
        rows = self.values.read(places if self.places is None else self.places[places])
        return rows.reshape(len(rows), *self.shape[1:])


class Joined(Values):
    """The rows of several values of one dtype and one shape of a row, one after the other."""

    def __init__(self, parts: Sequence[Values]) -> None:
        self.members, self.ends = list(parts), np.cumsum([len(part) for part in parts])
        self.shape, self.dtype, self.width = (int(self.ends[-1]), *parts[0].shape[1:]), parts[0].dtype, parts[0].width
        self.is_streamed = any(part.is_streamed for part in parts)

    def read(self, places: np.ndarray) -> np.ndarray:
        owners, rows = np.searchsorted(self.ends, places, side="right"), np.empty((len(places), *self.shape[1:]), self.dtype)
        for number in np.unique(owners):
            own = owners == number
            member = self.members[number]
            rows[own] = member.read(places[own] - (self.ends[number] - len(member)))
        return rows
