"""Compiled steps: a pair's loss, its gradients and Adam's update as one graph, compared with the eager step before it is used."""

from collections import Counter
from collections.abc import Callable
from itertools import islice
import math
import time
from typing import Any

import torch
from torch import nn

from inference.numerics import values_kept
from inference.svi.step import Step, parameters_of
from inference.svi.traced import Adam, Checks, CompiledStep
from inference.tracing.graph import UntraceableError
from pyro_lvm.checks import warn_caller
from pyro_lvm.pair import Batch

EARNS_BACK = 10_000  # steps; a compiled step saves about 2.5 ms of Python, and compiling takes about 10 to 20 s
FEW = 50  # steps after a check that make no other one necessary if nothing of the user's runs between epochs
MOST_GRAPHS = 4  # for batches of one shape; a fit whose options change more often is not worth the time of compiling
Shapes = tuple[int, tuple[tuple[torch.Size, torch.dtype], ...]]
Key = tuple[Shapes, tuple]


class CompiledSteps:
    """Steps of a fit: compiled for batch shapes that occur often, eager for all others.

    The first steps of every shape are eager, and so is every later step whose noise is used to check the compiled step: at its first
    use, at the first step of every epoch, and after 1, 2, 4, ... and then every 500 steps. If the two differ, or the pair cannot be
    traced, all steps are eager from then on. A step is compiled for the parameters that are trained and for a plain Adam or any other
    optimizer; if these change, it is eager until it is compiled again.

    Args:
        step: The eager step.
        modules: The pair's modules and all their submodules.
        is_required: Whether every shape is compiled after its second step, and a pair that cannot be compiled is refused.
        has_warmup: Whether the weight of the KL changes.
        announce: Called with ``"compile"`` when compiling begins, and with ``"fit"`` when it ends.
        may_change: Whether code of the user may run between epochs. If not, an epoch of few steps does not begin with a check.
    """

    def __init__(
        self,
        step: Step,
        modules: list[nn.Module],
        *,
        is_required: bool,
        has_warmup: bool,
        announce: Callable[[str], None],
        may_change: bool = True,
    ) -> None:
        self.step, self.modules, self.announce = step, modules, announce
        self.is_required, self.has_warmup, self.may_change = is_required, has_warmup, may_change
        self.is_off = False
        self.worthwhile: set[Shapes] = set()
        self.counts: Counter[Shapes] = Counter()
        self.compiled: dict[Key, CompiledStep] = {}
        self.resumed: dict[Shapes, Checks] = {}  # of steps that an earlier run had compiled, and this one has not yet
        self.compile_seconds = 0.0

    def begin_epoch(self) -> None:
        """Compare the next step of every shape with the eager one, as what Python does may have changed."""
        self.step.begin_epoch()
        for checks in (*(compiled.checks for compiled in self.compiled.values()), *self.resumed.values()):
            if self.may_change or checks.interval - checks.rest >= FEW:
                checks.rest = 0

    def plan(self, epochs: int) -> None:
        """Choose the shapes to compile from their steps so far, those of one epoch, and the number of epochs to come."""
        checks = 2 if self.may_change else 0  # A check takes about twice as long as an eager step.
        self.worthwhile = {shapes for shapes, count in self.counts.items() if (count - checks) * epochs >= EARNS_BACK}

    def state(self, optimizers: list[torch.optim.Optimizer]) -> dict[str, Any]:
        """Return which shapes are compiled or are to be, and when their steps are checked next, as these decide how a step rounds."""
        places = {id(optimizer): place for place, optimizer in enumerate(optimizers)}
        present = {id(optimizer): _options(optimizer) for optimizer in optimizers}
        checks = {key[0]: step.checks for key, step in self.compiled.items() if key[1] == present[key[0][0]]}
        return {
            "is_off": self.is_off,
            "compile_seconds": self.compile_seconds,
            "worthwhile": [_stored(shapes, places) for shapes in self.worthwhile],
            "counts": [[_stored(shapes, places), count] for shapes, count in self.counts.items()],
            "compiled": [[_stored(shapes, places), list(own)] for shapes, own in (self.resumed | checks).items()],
        }

    def load(self, state: dict[str, Any], optimizers: list[torch.optim.Optimizer]) -> None:
        """Set what :meth:`state` has returned in another run; shapes that were compiled are compiled when they come first."""
        if not state:  # of a fit without compiled steps
            return
        self.is_off, self.compile_seconds = state["is_off"], state["compile_seconds"]
        self.worthwhile = {_restored(shapes, optimizers) for shapes in state["worthwhile"]}
        self.counts = Counter({_restored(shapes, optimizers): count for shapes, count in state["counts"]})
        self.resumed = {_restored(shapes, optimizers): Checks(*checks) for shapes, checks in state["compiled"]}

    def __call__(self, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        """Make a step, as :class:`~inference.svi.step.Step` does.

        Raises:
            ValueError: If compiling is required but impossible.
        """
        shapes = id(optimizer), tuple((x.shape, x.dtype) for x in batch)
        if self.is_off or not (self.is_required or shapes in self.worthwhile):
            self.counts[shapes] += 1
            return self.step(optimizer, batch)
        key = shapes, _options(optimizer)
        if shapes in self.resumed:
            self._compile_as_before(key, optimizer, batch)
        compiled = self.compiled.get(key)
        if compiled is None:
            return self._first_step(key, optimizer, batch)
        if compiled.checks.rest == 0:
            return self._checked_step(compiled, optimizer, batch)
        compiled.checks.rest -= 1
        return compiled(batch)

    def _first_step(self, key: Key, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        """Make an eager step, and compile it unless it is the first one of its shape."""
        loss = self.step(optimizer, batch)
        self.counts[key[0]] += 1
        if self.counts[key[0]] > 1 and math.isfinite(loss):
            try:
                self._compile((key[0], _options(optimizer)), optimizer, batch)
            except Exception as error:  # of torch's compiler and what it runs, of any type
                self._give_up(error)
        return loss

    def _compile(self, key: Key, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
        if sum(shapes == key[0] for shapes, _ in self.compiled) == MOST_GRAPHS:
            raise UntraceableError("the optimizer's options or the parameters that it trains keep changing")
        start = time.perf_counter()
        self.announce("compile")
        try:
            self.compiled[key] = CompiledStep(self.step, optimizer, batch, self.modules, has_warmup=self.has_warmup)
        finally:
            self.announce("fit")
            self.compile_seconds += time.perf_counter() - start

    def _compile_as_before(self, key: Key, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
        """Compile a step that an earlier run had compiled; the gradients of an eager one tell which parameters are trained."""
        checks = self.resumed.pop(key[0])
        buffers = [buffer for module in self.modules for buffer in module.buffers(recurse=False)]
        try:
            with torch.random.fork_rng(), values_kept(buffers):
                self.step.loss_and_gradients(batch, parameters_of(optimizer))
                self._compile(key, optimizer, batch)
            self.compiled[key].checks = checks
        except Exception as error:  # of torch's compiler and what it runs, of any type
            self._give_up(error)

    def _checked_step(self, compiled: CompiledStep, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        """Make an eager step, and check that the compiled step yields the same results.

        A difference counts if the next step differs as well: the rounding of one step may choose another code for a datum.
        """
        try:
            trial = compiled.dry_run(batch)
        except UntraceableError as error:
            self._give_up(error)
            return self.step(optimizer, batch)
        loss = self.step(optimizer, batch)
        difference = compiled.difference(trial, loss)
        if not difference:
            compiled.checks.trust()
        elif compiled.checks.is_doubted:
            self._give_up(UntraceableError(f"a compiled step differs from an eager one: {difference}"), compiled.checks.interval > 0)
        compiled.checks.is_doubted = bool(difference)
        return loss

    def _give_up(self, error: Exception, was_right: bool = False) -> None:
        """Make all further steps eager, and say why; a pair that could be compiled at first is not refused in the middle of a fit."""
        self.is_off = True
        self.compiled.clear()
        if self.is_required and not was_right:
            raise ValueError(f"the pair must be compilable with compile=True: {error}. Change it, or use compile='auto'.") from error
        since = ". Something that a graph does not follow has changed, such as an attribute of a module" if was_right else ""
        warn_caller(f"fit runs without compiled steps: {error}{since}.")


def _stored(shapes: Shapes, places: dict[int, int]) -> list:
    """Return shapes in types that a file can hold, with the place of the optimizer instead of its identity."""
    return [places[shapes[0]], [[list(shape), str(dtype).removeprefix("torch.")] for shape, dtype in shapes[1]]]


def _restored(stored: list, optimizers: list[torch.optim.Optimizer]) -> Shapes:
    place, shapes = stored
    return id(optimizers[place]), tuple((torch.Size(shape), getattr(torch, dtype)) for shape, dtype in shapes)


def _options(optimizer: torch.optim.Optimizer) -> tuple:
    """Return what a graph depends on in an optimizer: the parameters that are trained, and the state that a plain Adam keeps."""
    trained = [p.requires_grad for group in optimizer.param_groups for p in group["params"]]
    if Adam.is_plain(optimizer):
        trained += [id(state["exp_avg"]) for state in islice(optimizer.state.values(), 1)]  # all are replaced together
    return tuple(trained)
