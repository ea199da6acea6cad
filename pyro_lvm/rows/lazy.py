"""Tensors of rows that are read when they are needed."""

from collections.abc import Callable
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from pyro_lvm.rows.values import MOST_HELD, Chosen, Computed, Held, Values, parts_of

_NUMPY = {dtype: np.dtype(str(dtype).removeprefix("torch.")) for dtype in (torch.float16, torch.float32, torch.float64, torch.bool)} | {
    dtype: np.dtype(str(dtype).removeprefix("torch.")) for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
}
_TORCH = {there: here for here, there in _NUMPY.items()}


class Rows(Tensor):
    """A tensor ``[N, *X]`` whose rows stay where they are, in a file or in a smaller dtype, until they are asked for.

    Rows by number, ``x[i]``, ``x[:10]``, ``x[places]`` and ``x.index_select(0, places)``, are plain tensors, and tensors of this kind
    only if they would take more than 64 MiB. Dtype and device change without a row being read. So do sums, means, standard deviations and
    extremes of rows in a file read a part at a time. Every other operation reads all rows first. Rows are read-only.

    Args:
        values: The rows as they are kept.
        device: Device of what is read.

    Attributes:
        kept: The rows as they are kept.
        known: Fingerprints of the rows, once they are computed.
    """

    kept: Values
    row_size: int
    facts: "Facts | None"
    known: dict[str, str]

    @staticmethod
    def __new__(cls, values: Values, device: torch.device | str = "cpu") -> "Rows":
        rows = Tensor._make_wrapper_subclass(cls, values.shape, dtype=_TORCH[values.dtype], device=torch.device(device))
        rows.facts, rows.known = None, {}
        rows.kept, rows.row_size = values, values.dtype.itemsize * values.size // max(1, len(values))
        return rows

    def taken(self, places: np.ndarray) -> Tensor:
        """Read rows by their places ``[B]``."""
        tensor = torch.from_numpy(_writeable(self.kept.read(places)))
        return tensor if self.device.type == "cpu" else tensor.to(self.device)

    def plain(self) -> Tensor:
        """Read all rows."""
        return _on(torch.from_numpy(self.kept.whole().copy()), self.device)

    def chosen(self, places: np.ndarray) -> Tensor:
        """Return rows by their places: a plain tensor, unless it would be large."""
        if len(places) * self.row_size <= MOST_HELD:
            return self.taken(places)
        return Rows(Chosen(self.kept, places), self.device)

    def __iter__(self) -> Any:
        for places in parts_of(self.shape):
            yield from self.taken(places)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"Rows(shape={tuple(self.shape)}, dtype={self.dtype}, kept={self.kept.width} bytes a number)"

    def __deepcopy__(self, memo: dict) -> "Rows":
        return self  # read-only

    def __reduce_ex__(self, protocol: Any) -> Any:
        return plain(self).__reduce_ex__(protocol)

    @classmethod
    def __torch_function__(cls, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _LAZY and isinstance(args[0], Rows):
            result = _LAZY[func](*args, **kwargs)
            if result is not NotImplemented:
                return result
        name = getattr(func, "__name__", "")
        if name == "__get__" or func in _NATIVE:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        _refuse_writing((kwargs.get("out"),))
        if name in _WRITES or (name.endswith("_") and not name.endswith("__")):
            _refuse_writing(args[:1])
        return func(*tree_map_only(Rows, plain, args), **tree_map_only(Rows, plain, kwargs))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        if func._schema.is_mutable:
            _refuse_writing(args[:1])
        return func(*tree_map_only(Rows, plain, args), **tree_map_only(Rows, plain, kwargs or {}))


def plain(x: Tensor) -> Tensor:
    """Return a plain tensor of the same numbers; any but :class:`Rows` is returned as it is."""
    return x.plain() if isinstance(x, Rows) else x


def in_parts(x: Tensor) -> Any:
    """Yield all rows of a tensor in order: some at a time if they are in a file, and otherwise at once."""
    if isinstance(x, Rows) and x.kept.is_streamed:
        yield from (x.taken(places) for places in parts_of(x.shape))
    else:
        yield plain(x)


def is_readable(x: Tensor) -> bool:
    """Return whether NumPy can read a tensor where it is."""
    return x.device.type == "cpu" and x.dtype in _NUMPY


def computed(x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function of single numbers to a tensor; to rows in a file where they are read."""
    if not (isinstance(x, Rows) and x.kept.is_streamed):
        return compute(x)
    return Rows(Computed(x.kept, lambda rows, places: compute(torch.from_numpy(_writeable(rows))).numpy(), x.kept.dtype), x.device)


def some_rows(x: Tensor) -> Tensor:
    """Return all rows of a tensor or, of rows in a large file, as many as memory should hold, from all over the file."""
    if not (isinstance(x, Rows) and x.kept.is_streamed):
        return x
    return x[:: -(-len(x) * x.row_size // MOST_HELD)]


def as_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert a tensor to another dtype; one that is large, or of rows that are not in memory, only where its rows are read."""
    is_large = x.numel() * dtype.itemsize > MOST_HELD
    if isinstance(x, Rows) or not is_large or dtype not in _NUMPY or not is_readable(x):
        return x.to(dtype)
    return Rows(_converted(Held(x.numpy()), dtype))


def _converted(values: Values, dtype: torch.dtype) -> Values:
    there = _NUMPY[dtype]
    return Computed(values, lambda rows, places: rows.astype(there), there)


def _writeable(array: np.ndarray) -> np.ndarray:
    return array if array.flags.writeable and array.flags.c_contiguous else array.copy()


def _on(x: Tensor, device: torch.device) -> Tensor:
    return x if x.device == device else x.to(device)


def _refuse_writing(first: tuple) -> None:
    if any(isinstance(x, Rows) for x in first):
        raise TypeError("rows that are read when needed must not be written to; call .clone() for a tensor of all rows in memory.")


def _getitem(x: Rows, key: Any) -> Any:
    first, *others = key if isinstance(key, tuple) else (key,)
    if isinstance(first, bool) or first is None or first is Ellipsis:
        return NotImplemented
    if isinstance(first, int | np.integer):
        if not -len(x) <= first < len(x):
            raise IndexError(f"row must be from {-len(x)} to {len(x) - 1}; got {first}.")
        row = x.taken(np.array([first % len(x)]))[0]
        return row[tuple(others)] if others else row
    places = _places(first, len(x))
    if places is None:
        return NotImplemented
    rows = x.chosen(places)
    return plain(rows)[(slice(None), *others)] if others and isinstance(first, slice) else NotImplemented if others else rows


def _places(key: Any, size: int) -> np.ndarray | None:
    """The rows that a slice, or whole numbers or a mask of one dimension, choose from ``size``; None for any other key."""
    if isinstance(key, slice):
        return np.arange(*key.indices(size))
    if not isinstance(key, Tensor | np.ndarray | list | range):
        return None
    places = np.asarray(key.detach().cpu() if isinstance(key, Tensor) else key)
    if places.ndim != 1 or (places.dtype == bool and len(places) != size):
        return None
    if places.dtype == bool:
        return np.flatnonzero(places)
    return _checked(places.astype(np.int64), size) if places.dtype.kind in "iu" or not len(places) else None


def _checked(places: np.ndarray, size: int) -> np.ndarray:
    if len(places) and (places.min() < -size or places.max() >= size):
        raise IndexError(f"rows must be from {-size} to {size - 1}; got {places.min()} to {places.max()}.")
    return np.where(places < 0, places + size, places)


def _index_select(x: Rows, dim: int, index: Tensor) -> Any:
    if dim != 0:
        return NotImplemented
    places = index.cpu().numpy()
    if len(places) and places.min() < 0:
        raise IndexError(f"rows must be from 0 to {len(x) - 1}; got {places.min()}.")
    return x.chosen(places)


def _to(x: Rows, *args: Any, **kwargs: Any) -> Any:
    if args and isinstance(args[0], Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    if args in ((None,), ()) and not kwargs:
        return x
    device, dtype, *_ = torch._C._nn._parse_to(*args, **{k: v for k, v in kwargs.items() if k != "copy"})
    device = x.device if device is None else device
    if dtype not in (None, x.dtype, *_NUMPY):
        return NotImplemented
    values = x.kept if dtype in (None, x.dtype) else _converted(x.kept, dtype)
    if device == x.device and values is x.kept:
        return x
    rows = Rows(values, device)
    return rows if values.is_streamed or device.type == "cpu" else rows.plain()  # an accelerator holds them as it computes with them


class Facts(NamedTuple):
    """Of rows ``[N, *X]``: sums and sums of squared distances from the mean, ``[*X]`` in float64, and the lowest and highest number."""

    total: Tensor
    squares: Tensor
    low: Tensor
    high: Tensor


def _facts(x: Rows) -> Facts:
    """Read all rows once, a part at a time."""
    if x.facts is None:
        # Nothing that lives on is made between the parts: it would keep the system from reusing their memory.
        (total, squares), count = torch.zeros(2, *x.shape[1:], dtype=torch.float64), 0
        low, high = torch.tensor([math.inf, -math.inf], dtype=x.dtype)
        for part in in_parts(x):
            part, size = part.cpu(), len(part)
            low.copy_(torch.minimum(low, part.min()))
            high.copy_(torch.maximum(high, part.max()))
            mean = part.mean(0, dtype=torch.float64)
            squares += (part - mean).square_().sum(0)
            squares += (mean - total / max(count, 1)).square_() * (count * size / (count + size))
            total += mean * size
            count += size
        x.facts = Facts(*(fact.to(x.device) for fact in (total, squares, low, high)))
    return x.facts


def _sum(x: Rows, *args: Any, **kwargs: Any) -> Any:
    return _facts(x).total.to(x.dtype) if _is_streamed(x, args, kwargs, (0,)) else NotImplemented


def _mean(x: Rows, *args: Any, **kwargs: Any) -> Any:
    return (_facts(x).total / len(x)).to(x.dtype) if _is_streamed(x, args, kwargs, (0,)) else NotImplemented


def _std(x: Rows, *args: Any, **kwargs: Any) -> Any:
    if _is_streamed(x, args, kwargs, (0,)):
        return (_facts(x).squares / (len(x) - 1)).sqrt().to(x.dtype)
    if not _is_streamed(x, args, kwargs, ()):
        return NotImplemented
    mean = _facts(x).total / len(x)
    between = len(x) * (mean - mean.mean()).square().sum()
    return ((_facts(x).squares.sum() + between) / (x.numel() - 1)).sqrt().to(x.dtype)


def _min(x: Rows, *args: Any, **kwargs: Any) -> Any:
    return _facts(x).low if _is_streamed(x, args, kwargs, ()) else NotImplemented


def _max(x: Rows, *args: Any, **kwargs: Any) -> Any:
    return _facts(x).high if _is_streamed(x, args, kwargs, ()) else NotImplemented


def _is_streamed(x: Rows, args: tuple, kwargs: dict, expected: tuple) -> bool:
    return x.kept.is_streamed and x.is_floating_point() and not kwargs and args == expected


_WRITES = frozenset({"__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ior__", "__iand__", "__ixor__", "__ipow__"})
_NATIVE: frozenset[Any] = frozenset(
    (
        *(Tensor.size, Tensor.dim, Tensor.ndimension, Tensor.numel, Tensor.nelement, Tensor.__len__, Tensor.element_size),
        *(Tensor.get_device, Tensor.is_floating_point, Tensor.is_complex, Tensor.__hash__, torch.is_floating_point, torch.is_complex),
    )
)
_LAZY: dict[Callable, Callable[..., Any]] = {
    Tensor.__getitem__: _getitem,
    Tensor.index_select: _index_select,
    torch.index_select: _index_select,
    Tensor.to: _to,
    Tensor.float: lambda x: _to(x, torch.float32),
    Tensor.double: lambda x: _to(x, torch.float64),
    Tensor.cpu: lambda x: _to(x, torch.device("cpu")),
    Tensor.detach: lambda x: x,
    Tensor.clone: lambda x, **_: x.plain(),
    Tensor.new_zeros: lambda x, *shape, **options: x.taken(np.arange(0)).new_zeros(*shape, **options),
    Tensor.sum: _sum,
    Tensor.mean: _mean,
    Tensor.std: _std,
    Tensor.min: _min,
    Tensor.max: _max,
}
