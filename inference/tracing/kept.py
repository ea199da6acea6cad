"""Restore the values of tensors after a ``with`` block."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from inference.numerics import values_kept
from inference.tracing.graph import UntraceableError


@contextmanager
def buffers_kept(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Restore the values of the modules' tensors, except for parameters, after a ``with`` block.

    Raises:
        UntraceableError: If one of them has been replaced by another tensor.
    """
    before = [(module, name, tensor) for module in modules for name, tensor in _state(module).items()]
    with values_kept(tensor for *_, tensor in before):
        yield
    for module, name, tensor in before:
        if _state(module).get(name) is not tensor:
            (module._buffers if name in module._buffers else vars(module))[name] = tensor
            raise UntraceableError(f"'{name}' of a {type(module).__name__} is replaced by a new tensor; update it in place")


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a module that are not parameters, without those of its children."""
    return {name: value for name, value in (vars(module) | module._buffers).items() if isinstance(value, Tensor)}
