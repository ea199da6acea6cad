"""The dtypes that a pair runs with: decided by its parameters, and by running it where they do not decide."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
import inspect
from itertools import product
from typing import Any

import pyro
from pyro import poutine
from pyro.infer.autoguide import AutoGuide, AutoMessenger
import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from pyro_lvm.arrays import to_dtype
from pyro_lvm.modules import eval_mode, modules_of
from pyro_lvm.pair import Batch, owner_of, programs
from pyro_lvm.scopes import belongings, isolated, parameters_known

Transform = Callable[[Tensor], Tensor]
Dtypes = tuple[torch.dtype, ...]

_FEW, _MANY = 2, 1024  # rows in a trial run; more only for a pair that does not run on few, such as one with a plate of fixed size
_NARROW = (torch.uint8, torch.int8, torch.int16)  # arithmetic wraps around, and uint8 is taken for a mask where it is an index


class Suit:
    """Converts batches to the device and the dtypes that a pair runs with.

    Floating-point numbers get the dtype of the pair's parameters. Integers and booleans stay what they are if the pair runs on them, as on
    labels and counts, and become floating-point numbers if it does not, as images of bytes do. What it runs on is tried on a few rows, once
    for each combination of dtypes. So are floating-point numbers if the pair's parameters have several dtypes, or it has none yet.

    Args:
        pair: Any pair.
        transform: Applied to the first tensor of every batch that the pair sees.
        device: Device of the batches; by default, that of the pair's parameters.
    """

    def __init__(self, pair: object, *, transform: Transform | None = None, device: torch.device | None = None) -> None:
        self.pair, self.transform = pair, transform
        parameters = _parameters_of(pair)
        self.device = device or next((p.device for p in parameters), None)
        self.floating = list(dict.fromkeys(p.dtype for p in parameters if p.dtype.is_floating_point))
        self.known: dict[Dtypes, Dtypes] = {}

    def __call__(self, batch: Batch) -> Batch:
        """Convert a batch.

        Raises:
            TypeError: If model or guide take another number of arguments.
            ValueError: If a number cannot be represented in the dtype of the pair.
        """
        batch = tuple(x if self.device is None else x.to(self.device) for x in batch)
        if not _has_rows(batch):
            return batch  # for the check of the batch, which comes next
        key = tuple(x.dtype for x in batch)
        if key not in self.known:
            check_arguments(self.pair, len(batch))
            self.known[key] = self._decide(batch)
        return tuple(to_dtype(x, dtype, f"argument {i}") for i, (x, dtype) in enumerate(zip(batch, self.known[key], strict=True)))

    def transformed(self, batch: Batch) -> Batch:
        """Apply the transform to the first tensor of a batch; numbers that it makes get the dtype of the pair's parameters."""
        if self.transform is None:
            return batch
        x = self.transform(batch[0])
        return (to_dtype(x, self.floating[0]) if len(self.floating) == 1 and x.is_floating_point() else x), *batch[1:]

    def floats(self, tensor: Tensor) -> Tensor:
        """Convert other values than a batch, such as latents: to the device and, if they are floating-point, to the dtype of the pair."""
        tensor = tensor if self.device is None else tensor.to(self.device)
        return to_dtype(tensor, self.floating[0]) if len(self.floating) == 1 and tensor.is_floating_point() else tensor

    def _decide(self, batch: Batch) -> Dtypes:
        choices = [self._choices(x.dtype) for x in batch]
        lazy = [module for module in modules_of(self.pair) if _is_lazy(module)]
        if not lazy and all(len(some) == 1 for some in choices):
            return tuple(some[0] for some in choices)
        dtypes = accepted_dtypes(self._run, batch, choices)
        for module in lazy:
            if _is_lazy(module):
                raise ValueError(
                    f"the lazy layers of the pair's {type(module).__name__} must be initialized before they are registered with Pyro; "
                    "they are not. Call the network once on a few data."
                )
        return dtypes

    def _choices(self, dtype: torch.dtype) -> list[torch.dtype]:
        floating = self.floating or [torch.get_default_dtype()]
        if dtype.is_floating_point:
            return floating if len(self.floating) == 1 else list(dict.fromkeys([dtype, *floating]))
        whole = [torch.int64, dtype] if dtype in _NARROW else [dtype, torch.int64]
        return list(dict.fromkeys([*whole, *floating]))

    def _run(self, *batch: Tensor) -> None:
        """Run guide and model; no random state changes, and no parameter is made in the pair's store."""
        model, guide = programs(self.pair)
        with torch.random.fork_rng(), torch.no_grad(), pyro.validation_enabled(True), _trial(self.pair):
            batch = self.transformed(batch)
            poutine.replay(model, trace=poutine.trace(guide).get_trace(*batch))(*batch)


@contextmanager
def _trial(pair: object) -> Iterator[None]:
    """Run a pair within a ``with`` block without its effects: its store and new automatic guides forget what they made."""
    with isolated(pair), eval_mode(pair), parameters_known():
        stateful = [pyro.get_param_store(), *new_guides(pair)]
        before = state_of(stateful)
        try:
            yield
        finally:
            restore(before)


State = list[tuple[object, dict[str, Any]]]


def state_of(things: Iterable[object]) -> State:
    """Return the attributes of objects, to :func:`restore` them; the objects go on with copies of those that are dicts or sets."""
    state = [(thing, dict(vars(thing))) for thing in things]
    for thing, attributes in state:
        vars(thing).update({name: copy(value) for name, value in attributes.items() if isinstance(value, dict | set)})
    return state


def restore(state: State) -> None:
    """Give objects the attributes that they had."""
    for thing, attributes in state:
        vars(thing).clear()
        vars(thing).update(attributes)


def new_guides(pair: object) -> list[nn.Module]:
    """Return the parts of automatic guides that have not run; these take their sizes from the first batch that they see."""
    owners = dict.fromkeys(owner_of(program) for program in programs(pair))
    new = [
        owner
        for owner in owners
        if (isinstance(owner, AutoGuide) and getattr(owner, "prototype_trace", None) is None)
        or (isinstance(owner, AutoMessenger) and not any(True for _ in owner.parameters()))
    ]
    return [part for owner in new for part in owner.modules()]


def suited(pair: object, batch: Batch) -> Batch:
    """Convert a batch as :class:`Suit` does."""
    return Suit(pair)(batch)


def accepted_dtypes(run: Callable[..., object], batch: Batch, choices: Sequence[Sequence[torch.dtype]]) -> Dtypes:
    """Return the first combination of dtypes that a function runs on, tried on a few rows; the first argument varies first.

    If it runs on none, the first that fails for another reason than its dtypes is returned, so that a later run shows that reason.

    Args:
        run: Takes the tensors of a batch.
        batch: The batch.
        choices: Possible dtypes of each tensor.
    """
    combinations = [dtypes[::-1] for dtypes in product(*reversed(choices))]
    plausible = []
    for size in (_FEW, _MANY):
        few = tuple(x[:size] for x in batch)
        for dtypes in combinations:
            error = _error(run, tuple(x.to(dtype, copy=True) for x, dtype in zip(few, dtypes, strict=True)))
            if error is None:
                return dtypes
            plausible += [] if _is_about_dtypes(error) else [dtypes]
    return plausible[0] if plausible else combinations[0]


def _error(run: Callable[..., object], batch: Batch) -> Exception | None:
    try:
        run(*batch)
    except Exception as error:  # a program may raise any error on values of a dtype that it was not written for
        return error
    return None


def _is_about_dtypes(error: Exception) -> bool:
    words = (
        "dtype",
        "scalar type",
        "data type",
        "not implemented for '",
        "boolean",
        "bool tensor",
        "floating",
        "Long",
        "integer",
        "Integer",
    )
    return isinstance(error, RuntimeError | TypeError | IndexError | NotImplementedError) and any(word in str(error) for word in words)


def check_arguments(pair: object, number: int) -> None:
    """Check that model and guide take as many arguments as the data have.

    Raises:
        TypeError: If one of them does not; the error names both numbers.
    """
    for name, program in zip(("model", "guide"), programs(pair), strict=True):
        try:
            signature = inspect.signature(program.forward if isinstance(program, nn.Module) else program)
        except ValueError:  # some callables of C have none
            continue
        try:
            signature.bind(*range(number))
        except TypeError:
            raise TypeError(
                f"the {name} takes {_number_of_arguments(signature)}, and the data give it {number}. Pass one tensor, or column of a "
                "Dataset, for each argument, such as a tuple (x, y), and leave out what the pair does not use."
            ) from None


def _number_of_arguments(signature: inspect.Signature) -> str:
    positional = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    least = sum(p.default is p.empty for p in positional)
    count = str(least) if least == len(positional) else f"{least} to {len(positional)}"
    names = ", ".join(p.name for p in positional)
    return f"{count} argument{'' if count == '1' else 's'}{f' ({names})' if names else ''}"


def _parameters_of(pair: object) -> list[Tensor]:
    found: list[Any] = [p for module in modules_of(pair) for p in module.parameters()]
    return found or list(belongings(pair).store._params.values())


def _is_lazy(module: nn.Module) -> bool:
    return any(isinstance(part, LazyModuleMixin) and part.has_uninitialized_params() for part in module.modules())


def _has_rows(batch: Batch) -> bool:
    return bool(batch) and all(x.dim() and len(x) == len(batch[0]) for x in batch) and len(batch[0]) > 0
