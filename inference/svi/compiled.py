"""Compiled steps: a pair's loss, its gradients and Adam's update as one graph, compared with the eager step before it is used."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
import math
import time
from typing import NamedTuple

import torch
from torch import Tensor, nn

from inference.numerics import values_kept
from inference.svi.adam import Adam
from inference.svi.agreement import agree, agree_on_loss, agree_on_update, described
from inference.svi.messengers import values_of
from inference.svi.step import Step, parameters_of
from inference.tracing.codegen import as_cuda_graph, compile_graph
from inference.tracing.graph import UntraceableError, untraceable
from inference.tracing.trace import trace
from pyro_lvm.checks import warn_caller
from pyro_lvm.pair import Batch

EARNS_BACK = 10_000  # steps; a compiled step saves about 2.5 ms of Python, and compiling takes about 10 to 20 s
CHECK_EVERY = 500  # steps; what Python does in a step may change, but a graph would not follow
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
        self.compile_seconds = 0.0

    def begin_epoch(self) -> None:
        """Compare the next step of every shape with the eager one, as what Python does may have changed."""
        self.step.begin_epoch()
        for compiled in self.compiled.values():
            if self.may_change or compiled.interval - compiled.rest >= FEW:
                compiled.rest = 0

    def plan(self, epochs: int) -> None:
        """Choose the shapes to compile from their steps so far, those of one epoch, and the number of epochs to come."""
        checks = 2 if self.may_change else 0  # A check takes about twice as long as an eager step.
        self.worthwhile = {shapes for shapes, count in self.counts.items() if (count - checks) * epochs >= EARNS_BACK}

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
        compiled = self.compiled.get(key)
        if compiled is None:
            return self._first_step(key, optimizer, batch)
        if compiled.rest == 0:
            return self._checked_step(compiled, optimizer, batch)
        compiled.rest -= 1
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

    def _checked_step(self, compiled: "CompiledStep", optimizer: torch.optim.Optimizer, batch: Batch) -> float:
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
            compiled.trust()
        elif compiled.is_doubted:
            self._give_up(UntraceableError(f"a compiled step differs from an eager one: {difference}"), compiled.interval > 0)
        compiled.is_doubted = bool(difference)
        return loss

    def _give_up(self, error: Exception, was_right: bool = False) -> None:
        """Make all further steps eager, and say why; a pair that could be compiled at first is not refused in the middle of a fit."""
        self.is_off = True
        self.compiled.clear()
        if self.is_required and not was_right:
            raise ValueError(f"the pair must be compilable with compile=True: {error}. Change it, or use compile='auto'.") from error
        since = ". Something that a graph does not follow has changed, such as an attribute of a module" if was_right else ""
        warn_caller(f"fit runs without compiled steps: {error}{since}.")


def _options(optimizer: torch.optim.Optimizer) -> tuple:
    """Return what a graph depends on in an optimizer: the parameters that are trained, and the state that a plain Adam keeps."""
    trained = [p.requires_grad for group in optimizer.param_groups for p in group["params"]]
    if Adam.is_plain(optimizer):
        trained += [id(state["exp_avg"]) for state in islice(optimizer.state.values(), 1)]  # all are replaced together
    return tuple(trained)


class Trial(NamedTuple):
    """What a compiled step does, found without leaving a change.

    Attributes:
        results: The loss and the gradients.
        buffers: The values of buffers after the step.
        fault: How parameters and running averages differ from those of the optimizer itself, given the same gradients; empty if they do
            not.
    """

    results: list[Tensor]
    buffers: list[Tensor]
    fault: str


class CompiledStep:
    """A compiled step for batches of one shape.

    Args:
        step: The eager step.
        optimizer: The optimizer, which has just made a step; plain Adam becomes part of the graph.
        batch: A batch of this shape.
        modules: The pair's modules and all their submodules.
        has_warmup: Whether the weight of the KL, or that of each site, is an input of the graph.

    Attributes:
        rest: The number of steps until the next check.
        interval: The number of steps between the last check and the next one; 0 if no check has been passed.
        is_doubted: Whether the last check has found a difference.

    Raises:
        UntraceableError: If the step cannot be compiled.
    """

    def __init__(self, step: Step, optimizer: torch.optim.Optimizer, batch: Batch, modules: list[nn.Module], *, has_warmup: bool) -> None:
        if not hasattr(step.elbo, "differentiable_loss"):
            raise UntraceableError(f"{type(step.elbo).__name__} has no differentiable_loss")
        self.rest, self.interval, self.is_doubted = 0, 0, False
        self.step, self.optimizer, self.has_warmup = step, optimizer, has_warmup
        self.parameters = parameters_of(optimizer)
        self.trained = [p for p in self.parameters if p.grad is not None]  # set by the last eager step
        self.adam = Adam(optimizer, self.trained) if Adam.suits(optimizer, self.trained) else None
        self.values: list[float] = []
        self.updated = [*self.parameters, *(self.adam.tensors() if self.adam else ())]
        # This is not the batch itself, so that a value that slips into the graph as a constant does not pass the check.
        other = tuple(x.flip(0) for x in batch)
        with values_kept(self.updated):
            graph = trace(self._losses, self._numbers(), *other, modules=modules)
        known = {id(tensor) for tensor in self.updated}
        self.tensors = graph.tensors
        self.buffers = [tensor for tensor in graph.tensors if id(tensor) not in known]
        self.run = compile_graph(graph, self._numbers(), *batch)
        if batch[0].is_cuda:
            with untraceable("no CUDA graph can be made"), self._unchanged():
                self.run = as_cuda_graph(self.run, self._numbers(), *batch)

    def __call__(self, batch: Batch) -> float:
        with torch.no_grad():
            loss, *gradients = self.run(self._numbers(), *batch)
        value = loss.item()
        if self.adam is not None:
            return value
        self._set_gradients(gradients)
        if value - value == 0:  # finite
            self.optimizer.step()
        return value

    def trust(self) -> None:
        """Postpone the next check."""
        self.rest = self.interval = min(2 * self.interval or 1, CHECK_EVERY - 1)

    def dry_run(self, batch: Batch) -> Trial:
        """Make a step that leaves all tensors and the random state unchanged.

        Raises:
            UntraceableError: If the step fails.
        """
        with untraceable("the compiled step fails"), self._unchanged():
            with values_kept(self.updated):
                results = [result.clone() for result in self.run(self._numbers(), *batch)]
                ended = [tensor.clone() for tensor in self.updated]
            buffers = [buffer.clone() for buffer in self.buffers]
            return Trial(results, buffers, self._fault(results, ended) if self.adam else "")

    def _fault(self, results: list[Tensor], ended: list[Tensor]) -> str:
        """Describe how an update differs from the optimizer's own; gradients that are mere rounding would make any other two differ."""
        if not all(result.isfinite().all() for result in results):
            return ""
        before = [tensor.clone() for tensor in self.updated]
        self._set_gradients(results[1:])
        self.optimizer.step()
        kinds = chain(["a parameter"] * len(self.parameters), ["a running average"] * len(self.updated))
        for kind, got, wanted, start in zip(kinds, ended, self.updated, before, strict=False):
            if not agree_on_update(got, wanted, start):
                return f"{kind} becomes {described(got)}, not {described(wanted)}"
        return ""

    def _set_gradients(self, gradients: list[Tensor]) -> None:
        for parameter, gradient in zip(self.trained, gradients, strict=True):
            parameter.grad = gradient

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Restore all tensors and the random state after a ``with`` block."""
        tensors = {id(tensor): tensor for tensor in (*self.tensors, *self.updated)}
        with values_kept(tensors.values()), torch.random.fork_rng(), torch.no_grad():
            yield

    def difference(self, trial: Trial, loss: float) -> str:
        """Describe how a dry run differs from the eager step that followed it; empty if it does not."""
        if {id(p) for p in self.parameters if p.grad is not None} != set(map(id, self.trained)):
            return "other parameters have gradients"
        wanted = trial.results[0].new_tensor(loss)
        if not agree_on_loss(trial.results[0], wanted):
            return f"the loss is {described(trial.results[0])}, not {described(wanted)}"
        gradients = [p.grad for p in self.trained if p.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients)) if gradients else 0.0
        kinds = chain([("a gradient", norm)] * len(gradients), [("a buffer", 0.0)] * len(self.buffers))
        got = (*trial.results[1:], *trial.buffers)
        for (kind, scale), value, wanted in zip(kinds, got, (*gradients, *self.buffers), strict=True):
            if not agree(value, wanted, scale):
                return f"{kind} is {described(value)}, not {described(wanted)}"
        return trial.fault

    def _losses(self, numbers: Tensor, *batch: Tensor) -> tuple[Tensor, ...]:
        """Return the loss and the gradients; this is the function that is traced."""
        weights, own = numbers.to(self.parameters[0].dtype).unbind(), list(numbers.unbind())
        kl = self.step.kl
        before = kl.weight
        try:
            if self.has_warmup:
                kl.set(weights[: len(values_of(before))])
            loss = self.step.loss(batch)
        finally:
            kl.weight = before
        found = torch.autograd.grad(loss, self.trained)
        with torch.no_grad():
            gradients = _clipped(list(found), self.step.clip_norm)
            if self.adam is not None:
                self.adam.update(gradients, own[-4:], loss.isfinite())
        return loss.detach(), *gradients

    def _numbers(self) -> Tensor:
        """Return the numbers that may change between steps: the weights of the KL, and those of the optimizer."""
        values = [*map(float, values_of(self.step.kl.weight)), *(self.adam.numbers() if self.adam else ())]
        if values != self.values:  # a copy to a device blocks the program
            self.values, self.numbers = values, torch.tensor(values, dtype=torch.float64, device=self.parameters[0].device)
        return self.numbers


def _clipped(gradients: list[Tensor], clip_norm: float | None) -> list[Tensor]:
    if clip_norm is None:
        return gradients
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    return [gradient * (clip_norm / (norm + 1e-6)).clamp(max=1.0) for gradient in gradients]
