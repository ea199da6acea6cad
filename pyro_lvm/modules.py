"""Torch modules of a pair, and their training and evaluation modes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
import inspect
from typing import Protocol, runtime_checkable

from torch import nn

from pyro_lvm.pair import programs

_MAX_DEPTH = 6  # of references, such as functions that call functions, in the search for modules


@runtime_checkable
class FollowsSteps(Protocol):
    """Module that changes its own tensors after every update of the parameters, such as a codebook with running averages."""

    def after_step(self) -> None:
        """Change the tensors; a fit calls this after every update."""


@runtime_checkable
class KeepsStatistics(Protocol):
    """Module that collects statistics during an epoch, such as the codes in use."""

    def epoch_statistics(self) -> dict[str, float]:
        """Return the statistics since the last call by name, for the history of a fit."""


def modules_of(pair: object) -> list[nn.Module]:
    """Return the torch modules that the pair's programs are, are methods of, or refer to by name, directly or through functions."""
    found: dict[int, object] = {}
    _collect(pair, found, _MAX_DEPTH)
    for program in programs(pair):
        _collect(program, found, _MAX_DEPTH)
    return [thing for thing in found.values() if isinstance(thing, nn.Module)]


def _collect(thing: object, found: dict[int, object], depth: int) -> None:
    if id(thing) in found or depth == 0:
        return
    found[id(thing)] = thing
    for part in _parts(thing):
        _collect(part, found, depth - 1)


def _parts(thing: object) -> Iterable[object]:
    if inspect.ismethod(thing):
        owner = thing.__self__
        return [owner] if isinstance(owner, nn.Module) else [thing.__func__, *getattr(owner, "__dict__", {}).values()]
    if inspect.isfunction(thing):
        closure = inspect.getclosurevars(inspect.unwrap(thing))
        defaults = [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
        return [*closure.nonlocals.values(), *closure.globals.values(), *defaults]
    if isinstance(thing, partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, dict):
        return thing.values()
    return thing if isinstance(thing, list | tuple) else ()


@contextmanager
def modes_kept(pair: object) -> Iterator[list[nn.Module]]:
    """Yield the pair's modules and all their submodules, and restore their training or evaluation modes afterwards."""
    modules = [module for root in modules_of(pair) for module in root.modules()]
    before = [module.training for module in modules]
    try:
        yield modules
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training


@contextmanager
def eval_mode(pair: object) -> Iterator[None]:
    """Put the pair's modules in evaluation mode within a ``with`` block."""
    with modes_kept(pair) as modules:
        for module in modules:
            module.training = False
        yield


@contextmanager
def train_mode(pair: object) -> Iterator[None]:
    """Put the pair's modules, except frozen ones, in training mode within a ``with`` block."""
    with modes_kept(pair):
        for root in modules_of(pair):
            _start_training(root)
        yield


def _start_training(module: nn.Module) -> None:
    parameters = list(module.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        return
    module.training = True
    for child in module.children():
        _start_training(child)
