"""Compiled steps: a pair's loss, its gradients and Adam's update as one graph, checked against the eager step before it is used."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
import time

import torch
from torch import Tensor, nn

from inference.svi.adam import Adam
from inference.svi.messengers import values_of
from inference.svi.step import Step, parameters_of
from inference.tracing.codegen import as_cuda_graph, compile_graph
from inference.tracing.graph import UntraceableError, untraceable
from inference.tracing.kept import values_kept
from inference.tracing.trace import trace
from pyro_lvm.checks import warn_caller
from pyro_lvm.pair import Batch

EARNS_BACK = 10_000  # steps; a compiled step saves about 2.5 ms of Python, and compiling takes about 10 to 20 s
CHECK_EVERY = 500  # steps; what Python does in a step may change, but a graph would not follow
Key = tuple[int, tuple[tuple[torch.Size, torch.dtype], ...]]


class CompiledSteps:
    """Steps of a fit: compiled for batch shapes that occur often, eager for all others.

    The first step of every shape is eager, and so is every later step whose noise is used to check the compiled step. If the two
    differ, or the pair cannot be traced, all steps are eager from then on.

    Args:
        step: The eager step.
        modules: The pair's modules and all their submodules.
        is_required: Whether every shape is compiled from its second step on, and a pair that cannot be compiled is refused.
        has_warmup: Whether the weight of the KL changes.
        announce: Called with ``"compile"`` when compiling begins, and with ``"fit"`` when it ends.
    """

    def __init__(
        self, step: Step, modules: list[nn.Module], *, is_required: bool, has_warmup: bool, announce: Callable[[str], None]
    ) -> None:
        self.step, self.modules, self.announce = step, modules, announce
        self.is_required, self.has_warmup = is_required, has_warmup
        self.is_off = False
        self.worthwhile: set[Key] = set()
        self.counts: Counter[Key] = Counter()
        self.compiled: dict[Key, CompiledStep] = {}
        self.compile_seconds = 0.0

    def plan(self, epochs: int) -> None:
        """Choose the shapes to compile from their steps so far, those of one epoch, and the number of epochs to come."""
        self.worthwhile = {key for key, count in self.counts.items() if count * epochs >= EARNS_BACK}

    def __call__(self, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        """Make a step, as :class:`~inference.svi.step.Step` does.

        Raises:
            ValueError: If compiling is required but impossible.
        """
        key = id(optimizer), tuple((x.shape, x.dtype) for x in batch)
        number = self.counts[key]
        self.counts[key] += 1
        if self.is_off or number == 0 or not (self.is_required or key in self.worthwhile):
            return self.step(optimizer, batch)
        if key in self.compiled and number % CHECK_EVERY:
            return self.compiled[key](batch)
        return self._checked_step(key, optimizer, batch)

    def _checked_step(self, key: Key, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        """Make an eager step, and check that the compiled step yields the same results."""
        try:
            if key not in self.compiled:
                self._compile(key, optimizer, batch)
            results = self.compiled[key].dry_run(batch)
        except UntraceableError as error:
            self._give_up(error)
            return self.step(optimizer, batch)
        loss = self.step(optimizer, batch)
        difference = self.compiled[key].difference(results, loss)
        if difference:
            self._give_up(UntraceableError(f"a compiled step differs from an eager one: {difference}"))
        return loss

    def _compile(self, key: Key, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
        start = time.perf_counter()
        self.announce("compile")
        try:
            self.compiled[key] = CompiledStep(self.step, optimizer, batch, self.modules, has_warmup=self.has_warmup)
        finally:
            self.announce("fit")
            self.compile_seconds += time.perf_counter() - start

    def _give_up(self, error: UntraceableError) -> None:
        if self.is_required:
            raise ValueError(f"the pair must be compilable with compile=True: {error}. Change it, or use compile='auto'.") from error
        warn_caller(f"fit runs without compiled steps: {error}.")
        self.is_off = True


class CompiledStep:
    """A compiled step for batches of one shape.

    Args:
        step: The eager step.
        optimizer: The optimizer, which has already made a step; plain Adam becomes part of the graph.
        batch: A batch of this shape.
        modules: The pair's modules and all their submodules.
        has_warmup: Whether the weight of the KL, or that of each site, is an input of the graph.

    Raises:
        UntraceableError: If the step cannot be compiled.
    """

    def __init__(self, step: Step, optimizer: torch.optim.Optimizer, batch: Batch, modules: list[nn.Module], *, has_warmup: bool) -> None:
        if not hasattr(step.elbo, "differentiable_loss"):
            raise UntraceableError(f"{type(step.elbo).__name__} has no differentiable_loss")
        self.step, self.optimizer, self.has_warmup = step, optimizer, has_warmup
        self.parameters = parameters_of(optimizer)
        self.trained = [p for p in self.parameters if p.grad is not None]  # set by the last eager step
        self.adam = Adam(optimizer) if Adam.suits(optimizer) else None
        self.values: list[float] = []
        updated = [*self.parameters, *(self.adam.tensors() if self.adam else ())]
        # This is not the batch itself, so that a value that slips into the graph as a constant does not pass the check.
        other = tuple(x.flip(0) for x in batch)
        with values_kept(updated):
            graph = trace(self._losses, self._numbers(), *other, modules=modules)
        known = {id(tensor) for tensor in updated}
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
        for parameter, gradient in zip(self.trained, gradients, strict=True):
            parameter.grad = gradient
        if value - value == 0:  # finite
            self.optimizer.step()
        return value

    def dry_run(self, batch: Batch) -> list[Tensor]:
        """Return loss, gradients and buffers of a step that leaves all tensors and the random state unchanged.

        Raises:
            UntraceableError: If the step fails.
        """
        with untraceable("the compiled step fails"), self._unchanged():
            return [*self.run(self._numbers(), *batch), *(buffer.clone() for buffer in self.buffers)]

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Restore all tensors and the random state after a ``with`` block."""
        with values_kept(self.tensors), torch.random.fork_rng(), torch.no_grad():
            yield

    def difference(self, results: list[Tensor], loss: float) -> str:
        """Describe how a dry run differs from the eager step that followed it; empty if it does not."""
        if {id(p) for p in self.parameters if p.grad is not None} != set(map(id, self.trained)):
            return "other parameters have gradients"
        gradients = [p.grad for p in self.trained if p.grad is not None]
        expected = [results[0].new_tensor(loss), *gradients, *self.buffers]
        kinds = chain(["the loss"], ["a gradient"] * len(self.trained), ["a buffer"] * len(self.buffers))
        floor = float(nn.utils.get_total_norm(gradients)) if gradients else 0.0
        for kind, got, wanted in zip(kinds, results, expected, strict=True):
            if not _are_close(got, wanted, floor if kind == "a gradient" else 1.0):
                return f"{kind} is {_short(got)}, not {_short(wanted)}"
        return ""

    def _losses(self, numbers: Tensor, *batch: Tensor) -> tuple[Tensor, ...]:
        """Return the loss and the gradients; this is the function that is traced."""
        *weights, rate = numbers.unbind()
        kl = self.step.kl
        before = kl.weight
        try:
            if self.has_warmup:
                kl.set(weights)
            loss = self.step.loss(batch)
        finally:
            kl.weight = before
        found = torch.autograd.grad(loss, self.trained)
        with torch.no_grad():
            gradients = _clipped(list(found), self.step.clip_norm)
            if self.adam is not None:
                self.adam.update(self.trained, gradients, rate, loss.isfinite())
        return loss.detach(), *gradients

    def _numbers(self) -> Tensor:
        """Return the numbers that may change between epochs: the weights of the KL and the learning rate."""
        values = [*map(float, values_of(self.step.kl.weight)), self.adam.rate() if self.adam else 0.0]
        if values != self.values:  # a copy to a device blocks the program
            first = self.parameters[0]
            self.values, self.numbers = values, torch.tensor(values, dtype=first.dtype, device=first.device)
        return self.numbers


def _clipped(gradients: list[Tensor], clip_norm: float | None) -> list[Tensor]:
    if clip_norm is None:
        return gradients
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    return [gradient * (clip_norm / (norm + 1e-6)).clamp(max=1.0) for gradient in gradients]


def _are_close(got: Tensor, wanted: Tensor, floor: float) -> bool:
    """Return whether two tensors are equal except for rounding, which a sum of large terms may carry into a small one."""
    relative, absolute = (1e-7, 1e-9) if wanted.dtype in (torch.float64, torch.int64) else (2e-3, 1e-4)
    got, wanted = got.double(), wanted.double()
    if not wanted.isfinite().all():
        return not got.isfinite().all()
    return bool((got - wanted).norm() <= relative * wanted.norm() + absolute * floor)


def _short(tensor: Tensor) -> str:
    return f"{tensor.item():.6g}" if tensor.numel() == 1 else f"of norm {tensor.double().norm():.6g}"
