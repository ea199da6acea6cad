"""Fingerprints of data."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Self

import numpy as np
from scipy.stats import betabinom
import torch
from torch import Tensor

from inference.data.load import Data
from inference.data.treatments import Dequantize
from pyro_lvm.rows.lazy import Rows
from pyro_lvm.rows.values import parts_of
from pyro_lvm.scopes import belongings

_SAMPLE = 1000  # rows
_CHANCE = 1e-3  # that rows which a pair was not fitted to are said to be among those that it was


def data_id(*batch: Tensor) -> str:
    """Compute a fingerprint of the values of a data set, independent of dtype, device and the shape of one datum, a part at a time."""
    return _known("values", batch, lambda rows: rows)


def sample_id(*batch: Tensor) -> str:
    """Compute a fingerprint of the values of some rows, evenly spaced, by which data of any size are recognized in little time."""
    return data_id(*(x[:: max(1, len(x) // _SAMPLE)] for x in batch))


def training_id(data: Data) -> str:
    """Compute a fingerprint of training data, and of what is given with them, without the noise that their transform replaces."""
    noise = getattr(data.transform, "__self__", None)
    own = _known("levels", (data.train,), noise.levels_of) if isinstance(noise, Dequantize) else data_id(data.train)
    return _with_given(own, data, "train")


def split_id(data: Data, split: str) -> str:
    """Compute a fingerprint of a split of a data set, and of what is given with it."""
    return _with_given(data_id(data.batch(split)[0]), data, split)


def _with_given(own: str, data: Data, split: str) -> str:
    given = data.batch(split)[1:]
    return f"{own}~{data_id(*given)}" if given else own


def _known(name: str, batch: tuple[Tensor, ...], seen: Callable[[Tensor], Tensor]) -> str:
    """Compute a fingerprint once for rows that cannot change."""
    known = batch[0].known if len(batch) == 1 and isinstance(batch[0], Rows) else {}
    return known[name] if name in known else known.setdefault(name, _digest(batch, seen))


def _digest(batch: Iterable[Tensor], seen: Callable[[Tensor], Tensor]) -> str:
    digest = sha256()
    for tensor in batch:
        digest.update(f"{len(tensor)}x{tensor[0].numel()};".encode())
        for places in parts_of(tensor.shape):
            rows = seen(tensor.detach()[int(places[0]) : int(places[-1]) + 1])
            digest.update(rows.double().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class FittedRows:
    """The rows that a pair was fitted to, by their fingerprints.

    Attributes:
        whole: Fingerprint of all of them, in any order.
        rows: Fingerprints of the rows, sorted, int64 ``[N]``. It is None in files and in what is read from them, as with it whoever has a
            file could tell whose data it was fitted to.
    """

    whole: str
    rows: Tensor | None = field(default=None, repr=False)

    @classmethod
    def of(cls, *batch: Tensor) -> Self:
        """Return the fingerprints of the rows of a batch."""
        rows = _row_ids(batch)
        return cls(data_id(rows), rows)

    def __reduce__(self) -> tuple:
        return FittedRows, (self.whole,)

    def count(self, *batch: Tensor) -> int:
        """Return how many rows of a batch are among those of the fit; 0 if so many may equal some of these by chance.

        A new row equals one of them with about the probability with which one of them equals another (Good 1953). The error of this
        estimate is taken for that of a share of half as many rows, so that the number of new rows that equal some of them is beta-binomial.
        """
        own = _row_ids(batch)
        if data_id(own) == self.whole:
            return len(own)
        if self.rows is None:
            return 0
        values, counts = self.rows.unique_consecutive(return_counts=True)
        found, alone = int(torch.isin(own, values).sum()), int((counts == 1).sum())
        chance = betabinom.sf(found - 1, len(own), 1 + (len(self.rows) - alone) / 2, 1 + alone / 2)
        return found if chance < _CHANCE else 0


def num_fitted(pair: object, *batch: Tensor) -> int:
    """Return how many rows of a batch are known to be among those that a pair was fitted to; see :meth:`FittedRows.count`."""
    known = belongings(pair).fitted
    return 0 if known is None else known.count(*batch)


def _row_ids(batch: tuple[Tensor, ...]) -> Tensor:
    """Compute a fingerprint of each row, in float32, with all that belongs to it; sorted, int64 ``[N]``."""
    return torch.from_numpy(np.sort(np.frombuffer(b"".join(_hashed(batch)), np.int64)))


def _hashed(batch: tuple[Tensor, ...]) -> Iterator[bytes]:
    size = sum(x[0].numel() for x in batch)
    for places in parts_of((len(batch[0]), size)):
        part = [x.detach()[int(places[0]) : int(places[-1]) + 1].float().cpu().reshape(len(places), -1) for x in batch]
        for row in (torch.cat(part, 1) + 0.0).numpy():  # where -0.0 is 0.0
            yield blake2b(row, digest_size=8).digest()
