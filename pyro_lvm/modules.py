"""The networks of a pair, as its runs show them, and their training and evaluation modes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
import sys
from threading import get_ident
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import pyro
from pyro.contrib.easyguide import EasyGuide
from pyro.poutine.messenger import Messenger
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from pyro_lvm.pair import owner_of, programs
from pyro_lvm.scopes import OF_MODULE, Networks, belongings
from pyro_lvm.sites import Site


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


_MODULE = pyro.module.__code__
_ACTIVE: list["eval_mode"] = []  # those of one thread, as a pair runs in an isolated scope


class eval_mode:  # noqa: N801, as it is used like a function
    """Context manager that keeps the networks of a pair in evaluation mode, also those that it has not run before.

    Args:
        pair: Any pair.

    Attributes:
        ran: The modules that have run within the ``with`` block, by id, in this thread.
    """

    def __init__(self, pair: object) -> None:
        self.ran: dict[int, nn.Module] = {}
        self._roots, self._modes = modules_of(pair), dict[nn.Module, bool]()

    def __enter__(self) -> Self:
        self._thread = get_ident()
        self._hook = register_module_forward_pre_hook(self._note_run)
        _ACTIVE.append(self)
        for root in self._roots:
            self.evaluate(root)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
        _ACTIVE.remove(self)
        for module, training in self._modes.items():
            module.training = training
        for root in self._roots:
            if isinstance(root, EasyGuide):
                root.plates.clear()  # it keeps those of a run that failed, whose size may be wrong in its next run

    def evaluate(self, root: nn.Module) -> None:
        """Put a module and all its submodules in evaluation mode until the end of the ``with`` block."""
        for module in root.modules():
            self._keep(module)

    def _note_run(self, module: nn.Module, args: tuple) -> None:
        if id(module) not in self.ran and get_ident() == self._thread:  # the hook sees the modules of all threads
            self.ran[id(module)] = module
            self._keep(module)

    def _keep(self, module: nn.Module) -> None:
        _ACTIVE[0]._modes.setdefault(module, module.training)  # the outermost block also keeps the networks that are found within others
        module.training = False


class Watch(Messenger):
    """Messenger that notes the networks and parameters of a run, and keeps these networks in evaluation mode until it ends.

    Networks are those that run, by whatever path the program reaches them, and those that are registered by ``pyro.module``.

    Attributes:
        networks: What the run has shown, also if it has failed.
        strangers: Names of registered modules other than those whose parameters the pair's store holds under these names.
    """

    def __init__(self, pair: object) -> None:
        super().__init__()
        self.networks = Networks()
        self.strangers: list[str] = []
        self._modes = eval_mode(pair)

    def __enter__(self) -> Self:
        self._modes.__enter__()
        return super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        super().__exit__(kind, error, traceback)
        self._modes.__exit__()
        self.networks.ran.update(self._modes.ran)

    def _pyro_post_param(self, msg: Site) -> None:
        name, leaf = msg["name"], msg["value"].unconstrained()
        self.networks.parameters[name] = leaf
        registration = _registration() if OF_MODULE in name else None
        if registration is None:
            return
        if registration["name"] not in self.networks.registered:
            self.networks.registered[registration["name"]] = registration["nn_module"]
            self._modes.evaluate(registration["nn_module"])
        if leaf is not registration["param_value"] and not registration["update_module_params"]:
            self.strangers.append(registration["name"])


def _registration() -> dict[str, Any] | None:
    """Return the local variables of the call of ``pyro.module`` that is under way, as its messages do not say for which module they are."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not _MODULE:
        frame = frame.f_back  # type: ignore[assignment]
    return None if frame is None else frame.f_locals


def roots_of(pair: object) -> dict[str, nn.Module]:
    """Return the modules with which the names of a pair's tensors begin: the pair itself or its programs' owners, and registered ones.

    A program's owner is the module that it is, as an AutoGuide is, or whose method it is.
    """
    owners = [owner_of(program) for program in programs(pair)]
    if isinstance(pair, nn.Module):
        roots = {"": pair}
    elif owners[0] is owners[1] and owners[0] is not None:
        roots = {"": owners[0]}
    else:
        roots = {f"{name}.": owner for name, owner in zip(("model", "guide"), owners, strict=True) if owner is not None}
    registered = belongings(pair).networks.registered
    return roots | {f"{name}{OF_MODULE}": registered[name] for name in sorted(registered)}


def modules_of(pair: object) -> list[nn.Module]:
    """Return the torch modules of a pair, without submodules of one another: its roots, and all others that have run."""
    return _outermost([*roots_of(pair).values(), *belongings(pair).networks.ran.values()])


def remember_networks(pair: object, networks: Networks) -> None:
    """Remember what a run has shown; modules of a root only as such, so that a part which is exchanged is forgotten."""
    known = belongings(pair).networks
    known.add(networks)
    for module in {module for root in roots_of(pair).values() for module in root.modules()}:
        known.ran.pop(id(module), None)


def unregistered(pair: object) -> list[nn.Module]:
    """Return the modules that have run and belong to no root, so that they have no name."""
    named = {module for root in roots_of(pair).values() for module in root.modules()}
    return [module for module in modules_of(pair) if module not in named]


def _outermost(modules: Iterable[nn.Module]) -> list[nn.Module]:
    modules = list(dict.fromkeys(modules))
    inner = {child for module in modules for child in module.modules() if child is not module}
    return [module for module in modules if module not in inner]


@contextmanager
def modes_kept(pair: object) -> Iterator[None]:
    """Restore the training or evaluation modes of the pair's modules and all their submodules after a ``with`` block."""
    before = [(module, module.training) for root in modules_of(pair) for module in root.modules()]
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


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
