"""Fingerprints of data."""

from collections.abc import Callable, Iterable
from hashlib import sha256

from torch import Tensor

from inference.data.load import Data
from inference.data.treatments import Dequantize
from pyro_lvm.rows.lazy import Rows
from pyro_lvm.rows.values import parts_of

_SAMPLE = 1000  # rows


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
