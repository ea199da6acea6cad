"""Batches of data: from tensors held on the device, a torch Dataset, or any iterable of batches."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from pyro_lvm.contract import check_batch
from pyro_lvm.pair import Batch

Transform = Callable[[Tensor], Tensor]


class TensorBatches:
    """Batches of tensors held on the device, shuffled by torch's generator on every pass if ``shuffle`` is set."""

    def __init__(self, tensors: Batch, batch_size: int, transform: Transform | None, shuffle: bool) -> None:
        self.tensors = tensors
        self.batch_size = batch_size
        self.transform = transform
        self.shuffle = shuffle
        self.num_data = len(tensors[0])

    def __iter__(self) -> Iterator[Batch]:
        device = self.tensors[0].device
        order = torch.randperm(self.num_data).to(device) if self.shuffle else torch.arange(self.num_data, device=device)
        for rows in order.split(self.batch_size):
            yield _transformed(tuple(x.index_select(0, rows) for x in self.tensors), self.transform)


class IterableBatches:
    """Batches as yielded by a loader or any other iterable."""

    def __init__(self, source: Iterable, device: torch.device, transform: Transform | None, num_data: int | None) -> None:
        self.source = source
        self.device = device
        self.transform = transform
        self.num_data = num_data

    def __iter__(self) -> Iterator[Batch]:
        for item in self.source:
            batch = tuple(item) if isinstance(item, tuple | list) else (item,)
            yield _transformed(tuple(torch.as_tensor(x).to(self.device) for x in batch), self.transform)


Batches = TensorBatches | IterableBatches


def as_batches(
    data: Any,
    *,
    batch_size: int | None,
    device: torch.device,
    transform: Transform | None = None,
    shuffle: bool = True,
) -> Batches:
    """Make batches from data in any supported form.

    Args:
        data: A tensor or array ``[N, *X]``, a tuple of these, a torch Dataset, or an iterable of batches, such as a list or a
            DataLoader, that can be iterated over more than once.
        batch_size: Number of data per batch; by default 100, or N if N is smaller. An iterable of batches has its own.
        device: Device of the batches.
        transform: Applied to the first tensor of every batch.
        shuffle: Whether the data are reordered on every pass; an iterable of batches has its own order.

    Raises:
        ValueError: If ``batch_size`` is not between 1 and N, or given with an iterable of batches, or if the data are empty or not finite.
        TypeError: If the data have another type.
    """
    if isinstance(data, Tensor | np.ndarray):
        data = (data,)
    if isinstance(data, tuple):
        tensors = tuple(torch.as_tensor(x).to(device).contiguous() for x in data)  # otherwise, the values of a row may be far apart
        check_batch(*tensors)
        return TensorBatches(tensors, _batch_size(batch_size, len(tensors[0])), transform, shuffle)
    if isinstance(data, IterableDataset):
        return IterableBatches(DataLoader(data, batch_size=batch_size or 100), device, transform, None)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, list):
        loader = DataLoader(data, batch_size=_batch_size(batch_size, len(data)), shuffle=shuffle)
        return IterableBatches(loader, device, transform, len(data))
    if isinstance(data, Iterable) and iter(data) is not data:
        if batch_size is not None:
            raise ValueError(f"an iterable of batches has its own batch size; got batch_size={batch_size}. Leave it out.")
        return IterableBatches(data, device, transform, _count(data))
    raise TypeError(
        "data must be a tensor, a tuple of tensors, a torch Dataset or an iterable of batches that can be iterated "
        f"over more than once; got {type(data).__name__}."
    )


def _batch_size(batch_size: int | None, num_data: int) -> int:
    if num_data == 0:
        raise ValueError("data must have at least one row; got none.")
    if batch_size is None:
        return min(100, num_data)
    if not 1 <= batch_size <= num_data:
        raise ValueError(
            f"batch_size must be between 1 and the number of rows, {num_data}; got {batch_size}. Pass batch_size={num_data} or less."
        )
    return batch_size


def _count(batches: Iterable) -> int | None:
    if isinstance(batches, list):
        return sum(len(batch[0] if isinstance(batch, tuple | list) else batch) for batch in batches)
    dataset = getattr(batches, "dataset", None)
    return len(dataset) if dataset is not None and hasattr(dataset, "__len__") else None


def _transformed(batch: Batch, transform: Transform | None) -> Batch:
    return batch if transform is None else (transform(batch[0]), *batch[1:])
