"""Batches of data for a fit: from tensors held on the device, a torch Dataset, or any iterable of batches."""

from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, Sampler, SequentialSampler

from pyro_lvm.arrays import is_array
from pyro_lvm.contract import check_batch
from pyro_lvm.dtypes import Suit, Transform
from pyro_lvm.pair import Batch
from pyro_lvm.reading import Splits, check_codes, check_collection, collated, is_dataset, read_item, split_batch
from pyro_lvm.rows.lazy import Rows

_BATCH_SIZE = 100


class TensorBatches:
    """Batches of tensors held on the device, shuffled by torch's generator on every pass if ``shuffle`` is set."""

    def __init__(self, tensors: Batch, suit: Suit, batch_size: int, *, shuffle: bool, drop_last: bool = False) -> None:
        self.tensors, self.suit, self.shuffle = tensors, suit, shuffle
        self.num_data = len(tensors[0])
        self.sizes = batch_sizes(self.num_data, batch_size, drop_last=drop_last)

    def __iter__(self) -> Iterator[Batch]:
        device = self.tensors[0].device
        order = torch.randperm(self.num_data).to(device) if self.shuffle else torch.arange(self.num_data, device=device)
        for rows in order[: sum(self.sizes)].split(self.sizes):
            yield self.suit.transformed(tuple(x.index_select(0, rows) for x in self.tensors))


class IterableBatches:
    """Batches as yielded by a loader or any other iterable."""

    def __init__(self, source: Iterable, suit: Suit, num_data: int | None) -> None:
        self.source, self.suit, self.num_data = source, suit, num_data

    def __iter__(self) -> Iterator[Batch]:
        for item in self.source:
            yield self.suit.transformed(self.suit(read_item(item, pair=self.suit.pair)))


Batches = TensorBatches | IterableBatches


class BatchesOfRows(Sampler):
    """Numbers of the rows of each batch of a Dataset."""

    def __init__(self, rows: Sampler, sizes: list[int]) -> None:
        self.rows, self.sizes = rows, sizes

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.rows)
        for start, end in pairwise(accumulate(self.sizes, initial=0)):
            yield order[start:end]

    def __len__(self) -> int:
        return len(self.sizes)


class StreamedBatches:
    """Batches of the rows of an IterableDataset."""

    def __init__(self, dataset: IterableDataset, batch_size: int, *, drop_last: bool) -> None:
        self.loader = DataLoader(dataset, batch_size=batch_size, drop_last=drop_last, collate_fn=collated)

    def __iter__(self) -> Iterator[Batch]:
        last: Batch | None = None
        for item in self.loader:
            batch = read_item(item)
            if last is not None and len(batch[0]) == 1 < len(last[0]):
                batch, last = tuple(map(torch.cat, zip(last, batch, strict=True))), None
            if last is not None:
                yield last
            last = batch
        if last is not None:
            yield last


def as_batches(
    data: Any,
    pair: object,
    *,
    batch_size: int | None,
    device: torch.device,
    transform: Transform | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
) -> Batches:
    """Make batches from data in any form that :func:`~pyro_lvm.reading.read_rows` reads.

    Args:
        data: A tensor, an array or a table ``[N, *X]``, a tuple of these, a torch Dataset, or an iterable of batches, such as a list or a
            DataLoader, that can be iterated over more than once.
        pair: The pair, which decides the dtypes of the batches; see :class:`~pyro_lvm.dtypes.Suit`.
        batch_size: Number of data per batch; by default 100, or N if N is smaller. An iterable of batches has its own.
        device: Device of the batches.
        transform: Applied to the first tensor of every batch.
        shuffle: Whether the data are reordered on every pass; an iterable of batches has its own order.
        drop_last: Whether a smaller last batch is left out. Otherwise, if a single row remains, it joins the batch before it, as layers
            such as BatchNorm cannot be trained on one row.

    Raises:
        ValueError: If ``batch_size`` is not between 1 and N, or an option is given with an iterable of batches, or the data are empty.
        TypeError: If the data have another type, or the pair takes another number of arguments.
    """
    suit = Suit(pair, transform=transform, device=device)
    if is_array(data) or isinstance(data, tuple):
        tensors = tuple(x.to(device) for x in read_item(data, "data", pair=pair))
        tensors = tuple(x if isinstance(x, Rows) else x.contiguous() for x in suit(tensors))  # a row's values may be far apart
        check_batch(*tensors)
        return TensorBatches(tensors, suit, _batch_size(batch_size, len(tensors[0])), shuffle=shuffle, drop_last=drop_last)
    check_collection(data)
    if isinstance(data, IterableDataset):
        return IterableBatches(StreamedBatches(data, batch_size or _BATCH_SIZE, drop_last=drop_last), suit, None)
    if is_dataset(data):
        sizes = batch_sizes(len(data), _batch_size(batch_size, len(data)), drop_last=drop_last)
        rows = BatchesOfRows(RandomSampler(data) if shuffle else SequentialSampler(data), sizes)
        return IterableBatches(DataLoader(data, batch_sampler=rows, collate_fn=collated), suit, len(data))
    _check_own_order(batch_size=(batch_size, None), shuffle=(shuffle, True), drop_last=(drop_last, False))
    return IterableBatches(data, suit, _count(data))


def as_validation(data: Any, pair: object, device: torch.device) -> Batches:
    """Make batches of validation data, in their own order."""
    is_ordered = is_array(data) or isinstance(data, tuple | IterableDataset) or is_dataset(data)
    return as_batches(data, pair, batch_size=None, device=device, shuffle=not is_ordered)


def split_of(data: Any, split: str, pair: object) -> Any:
    """Return a split of a data set in splits, whose codes are to be those that the pair knows, and any other data as they are."""
    if not isinstance(data, Splits):
        return data
    check_codes(data, pair)
    return split_batch(data, split)


def batch_sizes(num_data: int, batch_size: int, *, drop_last: bool = False) -> list[int]:
    """Return the sizes of all batches; a remainder of one joins the batch before it."""
    count, rest = divmod(num_data, batch_size)
    sizes = [batch_size] * count
    if drop_last or rest == 0:
        return sizes
    return [*sizes[:-1], batch_size + 1] if rest == 1 and count else [*sizes, rest]


def _batch_size(batch_size: int | None, num_data: int) -> int:
    if num_data == 0:
        raise ValueError("data must have at least one row; got none.")
    if batch_size is None:
        return min(_BATCH_SIZE, num_data)
    if not 1 <= batch_size <= num_data:
        raise ValueError(
            f"batch_size must be between 1 and the number of rows, {num_data}; got {batch_size}. Pass batch_size={num_data} or less."
        )
    return int(batch_size)


def _check_own_order(**options: tuple[object, object]) -> None:
    for name, (given, default) in options.items():
        if given != default:
            raise ValueError(f"an iterable of batches has its own batch size and order; got {name}={given}. Leave it out.")


def _count(batches: Iterable) -> int | None:
    if isinstance(batches, list):
        return sum(len(read_item(batch)[0]) for batch in batches)
    dataset: Any = getattr(batches, "dataset", None)
    return len(dataset) if dataset is not None and hasattr(dataset, "__len__") else None


def first_rows(batches: Batches) -> tuple[Tensor, ...]:
    """Return rows of the data as the pair sees them, without a change of the random state."""
    with torch.random.fork_rng():
        return next(iter(batches), ())
