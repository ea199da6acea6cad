"""What a pair is given beside new rows: labels and covariates from the same file, which are as those of the data are."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from inference.data.conversion import checked
from inference.data.given import MISSING, TOTAL, totals
from inference.data.load import Data
from pyro_lvm.rows.lazy import plain
from pyro_lvm.rows.values import Held


def given_alike(name: str, values: Mapping[str, np.ndarray], data: Data, x: Tensor) -> dict[str, Tensor]:
    """Return what a pair is given beside rows: categories, int64 ``[N]``, and covariates, float32 ``[N, *C]``.

    A label that was missing in all test data may be missing in new rows, too: it is -1. A total is computed, unless the file holds one.

    Args:
        name: What the rows are called in errors.
        values: What the file of the rows holds, by name.
        data: The data set that the pair was fitted to.
        x: The rows, ``[N, *X]``.

    Raises:
        ValueError: If something is not there, has another number or shape of rows, or is none of the categories.
    """
    found = dict(values)
    if TOTAL in data.given and TOTAL not in found:
        found |= totals({TOTAL: Held(plain(x).numpy())}, name)
    return {condition: _alike(f"{name}: {condition}", found.get(condition), condition, data, len(x)) for condition in data.given}


def _alike(name: str, values: np.ndarray | None, condition: str, data: Data, num_rows: int) -> Tensor:
    own = data.given[condition]
    if values is None and condition in data.num_categories and bool((own["test"] == MISSING).all()):
        return torch.full((num_rows,), MISSING)
    if values is None:
        raise ValueError(
            f"{name} must be in the file beside the rows, as the pair is given it; got none. Add a column or array of that name."
        )
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers, as those of {data.name} are; got {values[:1].tolist()}. Code them in the same way.")
    numbers, row_shape = checked(values, name).whole(), tuple(own["test"].shape[1:])
    if numbers.shape in ((num_rows,), (num_rows, 1)) and row_shape in ((), (1,)):
        numbers = numbers.reshape(num_rows, *row_shape)
    if numbers.shape != (num_rows, *row_shape):
        raise ValueError(f"{name} must have shape {(num_rows, *row_shape)}; got {numbers.shape}. Give one value for each row.")
    if condition in data.num_categories:
        return _as_categories(name, numbers, data.num_categories[condition])
    return torch.from_numpy(numbers.astype(np.float32))


def _as_categories(name: str, numbers: np.ndarray, count: int) -> Tensor:
    is_one = (numbers == np.rint(numbers)) & (numbers >= MISSING) & (numbers < count)
    if not is_one.all():
        wrong = numbers[~is_one][0]
        raise ValueError(
            f"{name} must be whole numbers from 0 to {count - 1}, as those of the run are, or {MISSING} if missing; got {wrong:g}."
        )
    return torch.from_numpy(numbers.astype(np.int64))
