"""Refuse what a graph cannot repeat: values of tensors that Python reads, and shapes that depend on values."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode, get_proxy_slot
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from inference.tracing.graph import UntraceableError

aten = torch.ops.aten
# Methods and properties of tensors that hand out values or memory without an operation of torch.
_READS = {
    *("tolist", "numpy", "__array__", "__repr__", "__deepcopy__", "__reduce_ex__", "share_memory_"),
    *("data_ptr", "storage", "untyped_storage", "_typed_storage", "__dlpack__", "__cuda_array_interface__", "set_"),
}
_FROM_LISTS = {"tensor", "as_tensor", "asarray", "new_tensor"}  # functions that read the values of tensors within lists


class _MethodReads(TorchFunctionMode):
    """Mode that refuses the methods of tensors that read values without an operation."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, function: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        name = getattr(function, "__name__", "")
        if name == "__get__":  # of a property
            name = getattr(getattr(function, "__self__", None), "__name__", "")
        read = args[:1] if name in _READS else _listed(args) if name in _FROM_LISTS else ()
        if not all(map(_is_constant, read)):
            _refuse(self.found, f"a tensor's value is read in Python by '{name}'")
        return function(*args, **(kwargs or {}))


class _OperationReads(TorchDispatchMode):
    """Mode that refuses operations that return values to Python, and operations whose output has a shape that depends on values."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, op: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        kwargs = kwargs or {}
        tags = getattr(op, "tags", ())
        if torch.Tag.data_dependent_output in tags and not all(map(_is_constant, tree_leaves((args, kwargs)))):
            _refuse(self.found, "a tensor's value is read in Python, as by 'item' or 'if'")
        if torch.Tag.dynamic_output_shape in tags and _has_variable_shape(op, args):
            _refuse(self.found, f"the shape of a result of '{op}' depends on the values of tensors")
        return op(*args, **kwargs)


def _listed(args: tuple) -> list:
    return tree_leaves([arg for arg in args if not isinstance(arg, Tensor)])


def _has_variable_shape(op: Callable, args: tuple) -> bool:
    if op is not aten.index.Tensor:
        return True
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])


def _is_constant(value: object) -> bool:
    """Return whether a value is the same at every call: no tensor, or one made of Python numbers while tracing."""
    mode = get_proxy_mode()
    if not isinstance(value, Tensor) or mode is None:
        return not isinstance(value, Tensor)
    return getattr(get_proxy_slot(value, mode.tracer, None), "constant", None) is not None


def _refuse(found: list[str], what: str) -> NoReturn:
    found.append(what)
    raise UntraceableError(what)


@contextmanager
def reads_refused() -> Iterator[list[str]]:
    """Refuse reads within a ``with`` block inside a traced function, and yield a list of those that were refused.

    The list outlives an error that the function itself catches.

    Raises:
        UntraceableError: If the value of a tensor is read, or the shape of a result depends on values. Only tensors made of Python
            numbers while tracing may be read.
    """
    found: list[str] = []
    with _MethodReads(found), _OperationReads(found):
        yield found
