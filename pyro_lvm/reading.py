"""The one reading of data: what a tensor, an array, a table, a data set or a loader means, everywhere."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, TensorDataset, default_collate

from pyro_lvm.arrays import as_tensor, is_array, named_table
from pyro_lvm.checks import warn_caller
from pyro_lvm.dtypes import Transform, suited
from pyro_lvm.pair import Batch
from pyro_lvm.rows.gathered import Gathered
from pyro_lvm.rows.values import MOST_HELD
from pyro_lvm.scopes import belongings

_BLOCK = 1000  # rows of a data set that are read at a time


@runtime_checkable
class Splits(Protocol):
    """A data set in three splits, such as :class:`inference.data.load.Data`."""

    train: Tensor
    valid: Tensor
    test: Tensor
    transform: Transform | None


def split_batch(data: Splits, split: str) -> Batch:
    """Return what a pair is called with for a split of a data set in splits: by its own ``batch``, if it has one, or the observations."""
    batch = getattr(data, "batch", None)
    return (getattr(data, split),) if batch is None else batch(split)


def read_rows(data: Any, *, split: str = "test", pair: object = None) -> Batch:
    """Read all rows of data as tensors, one for each argument of a pair; dtypes are kept.

    Args:
        data: A tensor, an array or a table ``[N, *X]``; a tuple of these; a torch Dataset; an iterable of batches, such as a list or a
            DataLoader, whose order is kept; or a data set in splits.
        split: The split to read from a data set in splits.
        pair: The pair that the data are for. A table with names of columns is read as the rows were that it is fitted to.

    Returns:
        Tensors ``[N, ...]``.

    Raises:
        TypeError: If the data are none of these, or do not hold numbers.
        ValueError: If a table or data set does not suit the rows that the pair is fitted to, there are no data, values are masked, or
            batches differ in their number of arguments or in shape.
    """
    if isinstance(data, Splits):
        check_codes(data, pair)
        data = split_batch(data, split)
    if is_array(data) or isinstance(data, tuple):
        return read_item(data, "data", pair=pair)
    if isinstance(data, TensorDataset):
        return read_item(data.tensors, "data")
    check_collection(data)
    is_loaded = is_dataset(data) or isinstance(data, IterableDataset)
    source = DataLoader(data, batch_size=_BLOCK, collate_fn=collated, generator=torch.Generator()) if is_loaded else data
    _warn_of_shuffling(data)
    rows = _joined(read_item(batch, pair=pair) for batch in source)
    if getattr(data, "drop_last", False) and len(rows[0]) < len(data.dataset):
        warn_caller(f"the loader's drop_last leaves out {len(data.dataset) - len(rows[0])} of {len(data.dataset)} rows.")
    return rows


def read_batch(pair: object, batch: tuple[Any, ...]) -> Batch:
    """Read the arguments of a function that takes ``*batch``, in the dtypes that the pair runs with.

    Args:
        pair: Any pair.
        batch: Tensors, arrays or tables, one for each argument of the pair; or a single object that :func:`read_rows` reads.

    Raises:
        TypeError: As :func:`read_rows`; also if the pair takes another number of arguments.
        ValueError: As :func:`read_rows`; also if a number cannot be represented in the dtype of the pair.
    """
    return suited(pair, read_rows(batch[0] if len(batch) == 1 else batch, pair=pair))


def read_item(item: Any, name: str = "a batch", *, pair: object = None) -> Batch:
    """Read a batch: a tensor, an array or a table, or a tuple or list of these; a table with names as the pair's own rows were read."""
    item = _by_names(item, pair)
    if isinstance(item, Mapping):
        keys, parts = ", ".join(map(str, item)), ", ".join(f"batch[{key!r}]" for key in item)
        raise TypeError(
            f"{name} must be a tensor or a tuple of tensors, in the order of the pair's arguments; got a dict with {keys}. Yield "
            f"{parts if len(item) == 1 else f'({parts})'}, or those of them that the pair takes."
        )
    if is_array(item):
        return (as_tensor(item, name if name == "data" else "argument 0"),)
    if isinstance(item, list) and not any(map(is_array, item)) or not isinstance(item, tuple | list):
        got = f"a list of {type(item[0]).__name__}" if isinstance(item, list) and item else f"a {type(item).__name__}"
        raise TypeError(f"{name} must be a tensor, an array, a table or a tuple of these; got {got}. Use torch.as_tensor.")
    return tuple(as_tensor(x, f"argument {i}") for i, x in enumerate(item))


def check_codes(data: Splits, pair: object) -> None:
    """Check that the numbers of a data set mean what those of the rows mean that a pair is fitted to, if both are known."""
    reader = None if pair is None else belongings(pair).reader
    if reader is not None:
        reader.check(data)


def _by_names(item: Any, pair: object) -> Any:
    """Return the arguments that a table with names of columns stands for, as the first or only one; anything else as it is."""
    first, others = (item[0], tuple(item[1:])) if isinstance(item, tuple | list) and item else (item, ())
    table = None if pair is None else named_table(first)
    reader = None if table is None else belongings(pair).reader
    return item if reader is None else reader(table, others)


def is_dataset(data: object) -> bool:
    """Return whether data are single rows by number, such as a torch Dataset."""
    return hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, list | tuple | str | bytes | Mapping)


def check_collection(data: object) -> None:
    """Check that data which are no array are a Dataset or batches that can be iterated over more than once.

    Raises:
        TypeError: If they are not.
    """
    if isinstance(data, Mapping):
        read_item(data, "data")
    is_words = isinstance(data, str | bytes)
    if is_words or not (is_dataset(data) or (isinstance(data, Iterable) and iter(data) is not data)):
        remedy = " Use load_data(...) for names and paths." if is_words or hasattr(data, "__fspath__") else ""
        raise TypeError(
            "data must be a tensor, an array, a table, a tuple of these, a torch Dataset or an iterable of batches that can be iterated "
            f"over more than once; got {type(data).__name__}.{remedy}"
        )


def collated(items: list) -> Any:
    """Join single rows of a Dataset into a batch, as torch does, but never drop a mask."""
    for item in items:
        for x in item if isinstance(item, tuple | list) else [item]:
            if isinstance(x, np.ma.MaskedArray):
                as_tensor(x, "an item of the Dataset")
    try:
        return default_collate(items)
    except TypeError as error:
        raise TypeError(
            f"a Dataset must yield tensors, arrays or numbers, or tuples of these; got {_names(items[0])}. Convert them."
        ) from error


def _names(item: Any) -> str:
    return f"({', '.join(type(x).__name__ for x in item)})" if isinstance(item, tuple | list) else type(item).__name__


def _warn_of_shuffling(data: object) -> None:
    sampler = getattr(getattr(data, "batch_sampler", None), "sampler", getattr(data, "sampler", None))
    if isinstance(sampler, RandomSampler):
        warn_caller(
            "the loader shuffles its rows: what is returned for each datum is in the order of this one reading, and the noise of a row "
            "differs in the next. Make the loader with shuffle=False."
        )


def _joined(batches: Iterable[Batch]) -> Batch:
    """Join batches to one: in memory, or in temporary files if they take more of it than is held."""
    gathered, size, expected = Gathered(), 0, None
    parts: list[Batch] = []
    for batch in batches:
        expected = _checked_shapes(batch, expected)
        parts.append(batch)
        size += sum(x.numel() * x.element_size() for x in batch)
        if size > MOST_HELD and gathered.takes(parts):
            gathered.append(parts)
            size, parts = 0, []
    if gathered.is_begun:
        return gathered.rows(parts)
    if not parts:
        raise ValueError("data must yield at least one batch; got none.")
    return tuple(torch.cat(some) for some in zip(*parts, strict=True))


def _checked_shapes(batch: Batch, expected: tuple[torch.Size, ...] | None) -> tuple[torch.Size, ...]:
    """Return the shapes of the rows of a batch, which are to be those of the first."""
    shapes = tuple(x.shape[1:] for x in batch)
    if expected not in (None, shapes):
        raise ValueError(
            f"all batches must have the same arguments, with rows of the same shapes; got {_plain(expected or ())} and {_plain(shapes)}. "
            "A list is read as batches: pass the arguments of a pair as a tuple."
        )
    return shapes


def _plain(shapes: Iterable[torch.Size]) -> list[tuple[int, ...]]:
    return [tuple(shape) for shape in shapes]
