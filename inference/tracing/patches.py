"""Replace functions of Pyro and torch while a pair is trained or traced."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
import sys
from unittest import mock

import torch
from torch import Tensor, nn


@contextmanager
def no_nan_warnings() -> Iterator[None]:
    """Stop Pyro's objectives from looking for NaN and infinity within a ``with`` block, as the caller checks the loss."""
    with replaced_in_pyro(warn_if_nan=_unchanged, warn_if_inf=_unchanged):
        yield


@contextmanager
def replaced_in_pyro(**functions: Callable) -> Iterator[None]:
    """Replace functions, by name, in all modules of ``pyro.infer`` within a ``with`` block."""
    places = [(module, name, module[name]) for name in functions for module in _modules_with(name, len(sys.modules))]
    for module, name, _ in places:
        module[name] = functions[name]
    try:
        yield
    finally:
        for module, name, function in places:
            module[name] = function


@lru_cache
def _modules_with(function: str, num_modules: int) -> list[dict[str, object]]:
    """Return the contents of the modules of ``pyro.infer`` that have a function; other ones may since have been imported."""
    modules = [vars(module) for name, module in list(sys.modules.items()) if name.startswith("pyro.infer")]
    return [module for module in modules if function in module]


def _unchanged(value: object, *_: object, **__: object) -> object:
    return value


@contextmanager
def no_host_reads() -> Iterator[None]:
    """Keep Pyro's objectives and torch's ``one_hot`` from reading the values of tensors within a ``with`` block.

    Pyro's objectives read losses as Python numbers, to report them and to warn of NaN, and ``one_hot`` reads the range of its input.
    """
    one_hot = mock.patch.object(nn.functional, "one_hot", _one_hot)
    with no_nan_warnings(), replaced_in_pyro(torch_item=_detached), one_hot:
        yield


def _detached(value: object) -> object:
    return value.detach() if isinstance(value, Tensor) else value


def _one_hot(tensor: Tensor, num_classes: int) -> Tensor:
    return (tensor[..., None] == torch.arange(num_classes, device=tensor.device)).long()
