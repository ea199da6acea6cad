"""Batches gathered in temporary files, of which rows can be chosen."""

from collections.abc import Sequence

from torch import Tensor

from pyro_lvm.rows.lazy import Rows, is_readable
from pyro_lvm.rows.stored import Scratch, Stored

_NAME = "what the data set or loader yields"


class Gathered:
    """Rows of batches that come one after the other, in a file without a name for each argument of a pair."""

    def __init__(self) -> None:
        self.files: list[Scratch] = []
        self.like: list[Tensor] = []  # no rows of each argument
        self.counts: list[int] = []

    @property
    def is_begun(self) -> bool:
        """Whether any batch was gathered."""
        return bool(self.files)

    def takes(self, batches: Sequence[Sequence[Tensor]]) -> bool:
        """Return whether batches can be gathered: tensors on the CPU, of dtypes that NumPy has, each argument of one dtype."""
        first = self.like or batches[0]
        alike = all(x.dtype == y.dtype for batch in batches for x, y in zip(batch, first, strict=True))
        return self.is_begun or (alike and all(map(is_readable, first)))

    def append(self, batches: Sequence[Sequence[Tensor]]) -> None:
        """Write the rows of batches after those before them.

        Raises:
            ValueError: If an argument has another dtype than before.
            OSError: If the disk is full.
        """
        if not self.files:
            self.files, self.like, self.counts = [Scratch() for _ in batches[0]], [x[:0] for x in batches[0]], [0] * len(batches[0])
        for batch in batches:
            for file, x, like in zip(self.files, batch, self.like, strict=True):
                if x.dtype != like.dtype:
                    raise ValueError(f"all batches must have one dtype for each argument; got {like.dtype} and {x.dtype}. Convert them.")
                file.append(x.numpy(), _NAME)
            self.counts = [count + len(x) for count, x in zip(self.counts, batch, strict=True)]

    def rows(self, batches: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
        """Gather the last batches, and return all rows of each argument."""
        self.append(batches)
        shapes = [(count, *x.shape[1:]) for count, x in zip(self.counts, self.like, strict=True)]
        stored = zip(self.files, shapes, self.like, strict=True)
        return tuple(Rows(Stored(file.file, 0, shape, like.numpy().dtype, name=_NAME)) for file, shape, like in stored)
