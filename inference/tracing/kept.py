"""Tensors whose values are put back."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from inference.tracing.graph import UntraceableError


@contextmanager
def values_kept(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Puts the values of tensors back afterwards."""
    before = [(tensor, tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)


@contextmanager
def buffers_kept(modules: list[nn.Module]) -> Iterator[None]:
    """Puts the values of the modules' tensors other than parameters back afterwards.

    Raises:
        UntraceableError: If another tensor has taken the place of one of them.
    """
    before = [(module, name, tensor) for module in modules for name, tensor in _state(module).items()]
    with values_kept(tensor for *_, tensor in before):
        yield
    for module, name, tensor in before:
        if _state(module).get(name) is not tensor:
            (module._buffers if name in module._buffers else vars(module))[name] = tensor
            raise UntraceableError(f"'{name}' of a {type(module).__name__} is replaced by a new tensor; update it in place")


def _state(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module, not of its children, that are not parameters."""
    return {name: value for name, value in (vars(module) | module._buffers).items() if isinstance(value, Tensor)}
