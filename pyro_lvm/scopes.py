"""What belongs to a pair besides its attributes, and the scope in which a pair runs: its own parameters, and nothing of the caller's."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from itertools import count
from threading import RLock
from traceback import walk_tb
from typing import Any, Protocol, Self
from weakref import WeakKeyDictionary, WeakValueDictionary

import pyro
from pyro.params.param_store import ParamStoreDict
from pyro.poutine import runtime
import torch
from torch import Tensor, nn

OF_MODULE = "$$$"  # what Pyro puts between the name of a registered module and that of its parameter

_PACKAGES = ("pyro_lvm", "inference")
_ATTRIBUTE = "_pyro_lvm_belongings"
_LOCK = RLock()  # Pyro's handlers and parameter store, torch's generators and its modes belong to all threads
_NAMES: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
_NUMBERS = count()
_OUTER: list[dict] = []  # what the scopes have put aside; the first is the content of Pyro's global store
_is_known = False  # whether the parameters are already known, so that none need be registered


class Networks:
    """The networks and parameters of a pair, as its runs have shown.

    Attributes:
        registered: Modules by the name with which they were registered with Pyro.
        ran: All modules that ran, in the order of their first run; among what a pair remembers, only those that it does not own.
        parameters: Unconstrained values of ``pyro.param``, ``pyro.module`` and PyroModules, by Pyro's name.
        loose: All other tensors on which the densities depend and that could be trained, by id.
    """

    def __init__(self) -> None:
        self.registered: dict[str, nn.Module] = {}
        self.ran: WeakValueDictionary[int, nn.Module] = WeakValueDictionary()  # not those that a program makes for a single run
        self.parameters: dict[str, Tensor] = {}
        self.loose: dict[int, Tensor] = {}

    def add(self, other: Self) -> None:
        """Add what another run has shown; a module takes the place of the one that was registered under its name."""
        former = tuple(f"{name}{OF_MODULE}" for name in other.registered)
        self.parameters = {name: value for name, value in self.parameters.items() if not name.startswith(former)}
        self.registered |= other.registered
        self.ran |= other.ran
        self.parameters |= other.parameters
        self.loose |= other.loose


class Reader(Protocol):
    """Reads tables for a pair as the rows that it is fitted to were read."""

    def __call__(self, table: Any, others: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what the pair is called with for a table with names of columns, and for its other arguments, if any are passed."""

    def check(self, data: Any) -> None:
        """Refuse a data set in splits whose numbers mean something else."""


class Known(Protocol):
    """Rows that are recognized."""

    @property
    def whole(self) -> str:
        """Fingerprint of all of them."""

    def count(self, *batch: Tensor) -> int:
        """Return how many rows of a batch are among them."""


class Belongings:
    """What belongs to a pair besides its attributes; it is copied and pickled with the pair, except for what a run will show again.

    Attributes:
        store: Values of the pair's ``pyro.param`` and ``pyro.module``.
        networks: What the pair's runs have shown.
        rows: Fingerprint of the training data, if parameters belong to their rows.
        fitted: The rows that the pair was fitted to, if they are known.
        reader: Reads tables with names of columns; None if such a table holds the numbers that the pair sees.
        template: What the last check of the pair left; see :class:`pyro_lvm.structure.Template`.
        former: What the last check of the pair left of which this one is a variant.
    """

    def __init__(
        self,
        store: ParamStoreDict | None = None,
        rows: str | None = None,
        fitted: Known | None = None,
        reader: Reader | None = None,
    ) -> None:
        self.store = ParamStoreDict() if store is None else store
        self.networks = Networks()
        self.rows, self.fitted, self.reader = rows, fitted, reader
        self.template: Any = None
        self.former: Any = None

    def of_variant(self, store: ParamStoreDict | None = None) -> "Belongings":
        """What belongs to a pair that takes the same rows and has the same parameters, such as one with another prior.

        Args:
            store: Its parameter store; by default an empty one.
        """
        other = Belongings(store, self.rows, self.fitted, self.reader)
        other.former = self.template or self.former
        return other

    def __deepcopy__(self, memo: dict) -> "Belongings":
        return Belongings(deepcopy(_without_modules(self.store), memo), self.rows, self.fitted, self.reader)

    def __reduce__(self) -> tuple:
        return Belongings, (_without_modules(self.store), self.rows, self.fitted, self.reader)


def _without_modules(store: ParamStoreDict) -> ParamStoreDict:
    """Return the parameters that do not belong to registered modules, which register them again when they run."""
    own = ParamStoreDict()
    forget_leaves(store)
    for name, value in store._params.items():
        if OF_MODULE not in name:
            own._params[name], own._constraints[name] = value, store._constraints[name]
            own._param_to_name[value] = name
    return own


def belongings(pair: object) -> Belongings:
    """Return what belongs to a pair.

    Raises:
        TypeError: If the pair cannot hold it, as an object with ``__slots__``.
    """
    try:
        own = vars(pair).get(_ATTRIBUTE)
        if own is None:
            own = Belongings()
            attach(pair, own)
    except (TypeError, AttributeError) as error:
        raise TypeError(f"a {type(pair).__name__} cannot own parameters ({error}). Use Pair(model, guide).") from error
    return own


def attach(pair: object, own: Belongings) -> None:
    """Make something belong to a pair; this bypasses frozen dataclasses and the registers of modules."""
    (type if isinstance(pair, type) else object).__setattr__(pair, _ATTRIBUTE, own)


@contextmanager
def param_scope(pair: object) -> Iterator[None]:
    """Use the pair's parameter store as Pyro's global one within a ``with`` block; blocks may be nested."""
    own = belongings(pair).store
    with _LOCK:
        is_active = own._params is pyro.get_param_store()._params
        try:
            with _swapped(own):
                yield
        finally:
            if not is_active:
                forget_leaves(own)


@contextmanager
def _swapped(own: ParamStoreDict) -> Iterator[None]:
    shared = pyro.get_param_store()
    if own._params is shared._params:
        yield
        return
    with _LOCK:
        _OUTER.append(dict(vars(shared)))
        vars(shared).update(vars(own))
        try:
            yield
        finally:
            vars(own).update(vars(shared))
            vars(shared).update(_OUTER.pop())


@contextmanager
def called_directly(pair: object) -> Iterator[None]:
    """Use the pair's parameter store while the caller, such as plain SVI, runs one of its programs.

    The caller's store learns the names of the parameters, for which Pyro's optimizers ask; their leaves stay known, too.
    """
    own = belongings(pair).store
    with _swapped(own):
        yield
    pyro.get_param_store()._param_to_name.update(own._param_to_name)


@contextmanager
def isolated(pair: object) -> Iterator[None]:
    """Run a pair with its own parameters, undisturbed by the caller's handlers and modes and by other threads, which wait.

    The caller's handlers of Pyro, ``torch.autocast`` and ``torch.inference_mode`` have no effect within the ``with`` block. An error that
    this library raises at a site of a trace leaves the block without the table of shapes that Pyro appends.
    """
    with _LOCK, ExitStack() as stack:
        stack.enter_context(_own_words())
        for outer in (runtime._PYRO_STACK, runtime._DIM_ALLOCATOR._stack):
            stack.enter_context(_emptied(outer))
        stack.callback(vars(runtime._ENUM_ALLOCATOR).update, dict(vars(runtime._ENUM_ALLOCATOR)))
        stack.enter_context(torch.inference_mode(False))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(param_scope(pair))
        yield


@contextmanager
def _own_words() -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError) as error:
        original = without_table(error)
        if original is not error and _is_ours(original):
            raise original from None
        raise


def without_table(error: BaseException) -> BaseException:
    """Return the error to whose message one or several traces have appended tables of shapes."""
    cause = error.__cause__
    return error if cause is None or "Trace Shapes:" not in str(error).removeprefix(str(cause)) else without_table(cause)


def _is_ours(error: BaseException) -> bool:
    """Return whether the statement that raised an error is this library's."""
    frames = list(walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").partition(".")[0] in _PACKAGES


@contextmanager
def _emptied(values: list) -> Iterator[None]:
    before = values[:]
    values.clear()
    try:
        yield
    finally:
        values[:] = before


def waiting_outside(parameters: Mapping[str, Tensor]) -> list[str]:
    """Return, within a pair's scope, which of its parameters have other values in Pyro's global store."""
    outside = _OUTER[0]["_params"] if _OUTER else {}
    return sorted(name for name, value in parameters.items() if name in outside and outside[name] is not value)


def forget_leaves(store: ParamStoreDict) -> None:
    """Remove the references that Pyro leaves on parameters, which cannot be pickled and which a copy would share."""
    for value in store._params.values():
        vars(value).pop("unconstrained", None)


def register(pair: nn.Module, *parts: str) -> None:
    """Register parts of a pair with Pyro under unique names; a program registers only what it uses, as each parameter costs time."""
    if _is_known:
        return
    # Not an attribute: a deep copy is another pair and needs another name.
    name = _NAMES.get(pair) or _NAMES.setdefault(pair, f"vae{next(_NUMBERS)}")
    for part in parts:
        _forget_former(f"{name}.{part}", getattr(pair, part))
        pyro.module(f"{name}.{part}", getattr(pair, part))


def _forget_former(name: str, module: nn.Module) -> None:
    """Remove the parameters of a part that has been exchanged, which Pyro would train in place of the new ones."""
    store = pyro.get_param_store()
    for path, parameter in module.named_parameters():
        former = store._params.get(f"{name}{OF_MODULE}{path}")
        if former is not None and former is not parameter:
            forget_parameter(store, f"{name}{OF_MODULE}{path}")


def forget_parameter(store: ParamStoreDict, name: str) -> None:
    """Remove a parameter from a store, also if it is known by another name, too."""
    store._param_to_name.pop(store._params.pop(name), None)
    store._constraints.pop(name)


@contextmanager
def parameters_known() -> Iterator[None]:
    """Skip the registration of parts within a ``with`` block, whose code already knows their parameters."""
    global _is_known
    before, _is_known = _is_known, True
    try:
        yield
    finally:
        _is_known = before
