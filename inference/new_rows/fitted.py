"""New rows that are none: rows that the pair was fitted to."""

from collections.abc import Iterator

import torch
from torch import Tensor

from inference.data.load import Data
from pyro_lvm.checks import warn_caller
from pyro_lvm.rows.lazy import Rows

_FEWEST, _SHARE = 3, 0.05  # rows, and share of them beyond that of held-out rows, from which on a warning says so


def warn_of_fitted(x: Tensor, data: Data, source: str) -> None:
    """Warn of rows that equal training rows, if held-out rows do so less often; rows that stay in files are not compared.

    Args:
        x: The rows, ``[N, *X]``, as the pair takes them.
        data: The data that the pair was fitted to.
        source: What the rows are called.
    """
    if any(isinstance(rows, Rows) for rows in (x, data.train, data.test)):
        return
    fitted = set(_as_bytes(data.train))
    count, usual = (sum(row in fitted for row in _as_bytes(rows)) for rows in (x, data.test))
    if count >= _FEWEST and count / len(x) > 2 * usual / len(data.test) + _SHARE:
        warn_caller(
            f"{count} of {len(x)} rows of {source} equal rows that the model was fitted to, where more flexible models score higher: the "
            "figures are not those of new data."
        )


def _as_bytes(x: Tensor) -> Iterator[bytes]:
    return (row.tobytes() for row in x.nan_to_num(torch.inf).numpy())
