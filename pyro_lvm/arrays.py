"""Tensors from arrays and tables of numbers, without a copy where nothing has to change."""

import sys
from typing import Any
import warnings

import numpy as np
import torch
from torch import Tensor

from pyro_lvm.rows.lazy import as_dtype, in_parts

_WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}  # torch can hardly compute with these
LARGEST_WHOLE = 2**24  # beyond it, float32 does not hold all integers


def is_array(value: object) -> bool:
    """Return whether a value is one tensor, array or table, rather than a collection of them."""
    return isinstance(value, Tensor) or hasattr(value, "__array__") or hasattr(value, "toarray")


def named_table(value: Any) -> Any:
    """Return a value as a table of pandas, if it is a table that names its columns, of pandas, Polars or PyArrow; otherwise None."""
    pandas = sys.modules.get("pandas")
    if pandas is None or isinstance(value, Tensor | np.ndarray):
        return None
    table = value.to_pandas() if is_array(value) and hasattr(value, "to_pandas") else value
    is_named = isinstance(table, pandas.DataFrame) and not all(isinstance(name, int) for name in table.columns)
    return table if is_named else None


def as_tensor(value: Any, name: str = "data") -> Tensor:
    """Return a tensor of the same values: of a tensor, a NumPy array, a pandas table or anything else with ``__array__``.

    Memory is shared where possible. Integers stay integers, booleans stay booleans, and floating-point numbers keep their precision. A
    table of integers and floating-point numbers becomes float64, and its missing values become NaN.

    Args:
        value: The tensor, array or table.
        name: Name of the value in errors.

    Raises:
        TypeError: If the value is none of these, is sparse, or holds other things than numbers, such as strings, dates or complex numbers.
        ValueError: If values of an array are masked, or integers are too large to be converted without loss.
    """
    if isinstance(value, Tensor):
        return _plain(value, name)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series):
        value = _of_table(value.to_frame() if isinstance(value, pandas.Series) else value, name).reshape(value.shape)
    if hasattr(value, "toarray"):
        raise TypeError(f"{name} must be dense; got a sparse {type(value).__name__}. Pass {name}.toarray().")
    if not hasattr(value, "__array__"):
        raise TypeError(f"{name} must be a tensor, a NumPy array or a table of numbers; got {_kind(value)}. Use torch.as_tensor.")
    return _plain(_from_numpy(_of_array(value, name)), name)


def to_dtype(tensor: Tensor, dtype: torch.dtype, name: str = "data") -> Tensor:
    """Convert a tensor to another dtype; floating-point numbers may be rounded, integers may not.

    Raises:
        ValueError: If a finite number becomes infinite, or an integer changes.
    """
    if tensor.dtype == dtype:
        return tensor
    for part in in_parts(tensor):
        _check_conversion(part, dtype, name)
    return as_dtype(tensor, dtype)


def _check_conversion(tensor: Tensor, dtype: torch.dtype, name: str) -> None:
    if tensor.is_floating_point():
        if torch.finfo(dtype).max < torch.finfo(tensor.dtype).max and bool((tensor.to(dtype).isinf() & tensor.isfinite()).any()):
            raise ValueError(
                f"{name} must be finite in {_short(dtype)}, the dtype of the pair; got numbers up to "
                f"{tensor[tensor.isfinite()].abs().max():g}. Rescale them, or convert the pair with .double()."
            )
    elif _may_change(tensor.dtype, dtype) and not torch.equal(tensor.to(dtype).to(tensor.dtype), tensor):
        low, high = tensor.aminmax()
        raise ValueError(
            f"{name} must hold integers that {_short(dtype)} can represent, as the pair cannot run on {_short(tensor.dtype)}; got "
            f"integers from {low.item()} to {high.item()}. Rescale them, for example by converting them to float64 first."
        )


def _may_change(whole: torch.dtype, dtype: torch.dtype) -> bool:
    """Return whether a floating-point dtype lacks some integers of a whole one."""
    return dtype.is_floating_point and whole != torch.bool and torch.iinfo(whole).max * torch.finfo(dtype).eps > 2


def _plain(tensor: Tensor, name: str) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized:
        raise TypeError(f"{name} must be a dense tensor; got one of layout {tensor.layout}. Use .to_dense().")
    if tensor.is_complex():
        raise TypeError(f"{name} must be real; got {_short(tensor.dtype)}. Stack real and imaginary parts: torch.view_as_real.")
    if tensor.dtype in _WIDER:
        if tensor.dtype == torch.uint64 and bool((tensor.view(torch.int64) < 0).any()):
            raise ValueError(f"{name} must hold integers below 2^63; got larger ones. Rescale or encode them.")
        tensor = tensor.to(_WIDER[tensor.dtype])
    return tensor.detach() if tensor.requires_grad else tensor


def _of_array(value: Any, name: str) -> np.ndarray:
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise ValueError(
                f"{name} must have no masked values, as a tensor has no mask; got {np.ma.count_masked(value)}. Pass an array without NaN "
                "and the mask as a second argument of the pair, whose model uses it in pyro.poutine.mask."
            )
        value = value.data
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        got = f"fields {', '.join(array.dtype.names)}" if array.dtype.names else f"dtype {array.dtype}"
        raise TypeError(f"{name} must hold real numbers; got {got}. Encode the values as numbers, or convert them with .astype(float).")
    return array


def _from_numpy(array: np.ndarray) -> Tensor:
    """Share the memory of an array with a tensor, unless torch knows no such dtype or strides."""
    dtype = array.dtype.newbyteorder("=") if array.dtype.itemsize <= 8 else np.dtype(np.float64)
    array = array.astype(dtype, copy=False)
    if any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array)
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():  # torch warns of arrays that are read-only; data are only read
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def _of_table(table: Any, name: str) -> np.ndarray:
    """The values of a pandas table as one array, ``[N, D]``."""
    from pandas.api import types

    columns = [(str(column), dtype) for column, dtype in table.dtypes.items()]
    words = [f"{column!r} ({dtype})" for column, dtype in columns if not types.is_numeric_dtype(dtype) or types.is_complex_dtype(dtype)]
    if words:
        raise TypeError(
            f"{name} must be a table of real numbers; got columns {', '.join(words)}. Drop them, or read the table with load_data, and "
            "fit the pair to what it returns, which gives codes to values."
        )
    has_gaps = bool(table.isna().to_numpy().any())
    if not has_gaps and all(types.is_bool_dtype(dtype) for _, dtype in columns):
        return table.to_numpy(dtype=bool)
    is_whole = [types.is_integer_dtype(dtype) or types.is_bool_dtype(dtype) for _, dtype in columns]
    limit = 2**63 - 1 if all(is_whole) and not has_gaps else LARGEST_WHOLE
    for place, (column, _) in enumerate(columns):
        if is_whole[place]:
            _check_whole(table.iloc[:, place], limit, f"column {column!r} of {name}")
    if limit != LARGEST_WHOLE:
        return table.to_numpy(dtype=np.int64)
    is_single = all(dtype in (np.float32, np.float16) for _, dtype in columns)
    return table.to_numpy(dtype=np.float32 if is_single else np.float64, na_value=np.nan)


def _check_whole(column: Any, limit: int, name: str) -> None:
    values = column.dropna()
    largest = max(abs(int(values.max())), abs(int(values.min()))) if len(values) else 0
    if largest > limit:
        raise ValueError(
            f"{name} must hold integers up to {limit}, as it is joined with columns of other numbers; got {largest}. Drop it if it is an "
            "identifier, or rescale it."
        )


def _kind(value: object) -> str:
    if isinstance(value, list | tuple) and value and not is_array(value[0]):
        return f"a {type(value).__name__} of {type(value[0]).__name__}"
    return f"a {type(value).__name__}"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
