"""One compiled step: a pair's loss, its gradients and Adam's update as a graph, and whether it agrees with the eager step."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from inference.numerics import values_kept
from inference.svi.messengers import values_of
from inference.svi.step import Step, parameters_of
from inference.tracing.agreement import agree, agree_on_loss, agree_on_update, described
from inference.tracing.codegen import as_cuda_graph, compile_graph
from inference.tracing.graph import UntraceableError, untraceable
from inference.tracing.trace import trace
from pyro_lvm.pair import Batch

CHECK_EVERY = 500  # steps; what Python does in a step may change, but a graph would not follow
_OPTIONS = ("weight_decay", "amsgrad", "maximize", "differentiable", "decoupled_weight_decay")  # that a plain Adam does not have


class Adam:
    r"""Adam's update as tensor operations on the state of torch's own optimizer, so that eager steps may come in between.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        \theta \leftarrow \theta - \frac{\eta}{1 - \beta_1^t} \frac{m}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Args:
        optimizer: The optimizer; :meth:`suits` says whether it can be used.
        parameters: Its parameters that have gradients.

    References:
        Kingma, Ba (2015), Adam: A Method for Stochastic Optimization. https://arxiv.org/abs/1412.6980
    """

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> None:
        self.optimizer, self.parameters = optimizer, parameters
        states = [optimizer.state[p] for p in parameters]
        self.steps, self.means, self.squares = ([state[name] for state in states] for name in ("step", "exp_avg", "exp_avg_sq"))

    @staticmethod
    def is_plain(optimizer: torch.optim.Optimizer) -> bool:
        """Return whether an optimizer is Adam on one group, with no options besides learning rate, betas and epsilon, and no hooks."""
        if type(optimizer) is not torch.optim.Adam or len(optimizer.param_groups) > 1:
            return False
        if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
            return False
        return not any(map(optimizer.param_groups[0].get, _OPTIONS))

    @staticmethod
    def suits(optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> bool:
        """Return whether the update of parameters can be part of a graph.

        The optimizer must be plain, and must have made the same number of steps for every parameter, counted on the parameter's device.
        """
        if not Adam.is_plain(optimizer) or not parameters or not all(p in optimizer.state for p in parameters):
            return False
        steps = [optimizer.state[p]["step"] for p in parameters]
        return all(step.device == p.device for step, p in zip(steps, parameters, strict=True)) and len(set(map(float, steps))) == 1

    def tensors(self) -> Iterator[Tensor]:
        """Yield step counts and running averages."""
        yield from (*self.steps, *self.means, *self.squares)

    def numbers(self) -> list[float]:
        """Return learning rate, betas and epsilon of the next step."""
        group = self.optimizer.param_groups[0]
        return [float(group["lr"]), *map(float, group["betas"]), float(group["eps"])]

    def update(self, gradients: list[Tensor], numbers: list[Tensor], is_finite: Tensor) -> None:
        """Update step counts, averages and, if the loss is finite, parameters; the numbers are those of :meth:`numbers`, in float64."""
        torch._foreach_add_(self.steps, 1)
        number = self.steps[0].double()
        factors = {dtype: _factors(number, numbers, dtype) for dtype in {p.dtype: None for p in self.parameters}}
        for parameter, gradient, mean, square in zip(self.parameters, gradients, self.means, self.squares, strict=True):
            rate, root, new, old_square, new_square, epsilon = factors[parameter.dtype]
            mean.lerp_(gradient, new)
            square.mul_(old_square).add_(gradient * gradient * new_square)
            moved = parameter - rate * mean / (square.sqrt() / root + epsilon)
            parameter.copy_(torch.where(is_finite, moved, parameter))


def _factors(number: Tensor, numbers: list[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return the factors of the update after a number of steps, stored so that they are not computed again in every parameter's loop."""
    rate, beta1, beta2, epsilon = numbers
    factors = torch.stack([rate / (1 - beta1**number), (1 - beta2**number).sqrt(), 1 - beta1, beta2, 1 - beta2, epsilon])
    return factors.to(dtype).as_strided((6,), (1,)).unbind()


@dataclass
class Checks:
    """When a compiled step is compared with an eager one.

    Attributes:
        rest: The number of steps until the next check.
        interval: The number of steps between the last check and the next one; 0 if no check has been passed.
        is_doubted: Whether the last check has found a difference.
    """

    rest: int = 0
    interval: int = 0
    is_doubted: bool = False

    def trust(self) -> None:
        """Postpone the next check."""
        self.rest = self.interval = min(2 * self.interval or 1, CHECK_EVERY - 1)

    def __iter__(self) -> Iterator[int]:
        return iter((self.rest, self.interval, self.is_doubted))


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
        checks: When it is checked.

    Raises:
        UntraceableError: If the step cannot be compiled.
    """

    def __init__(self, step: Step, optimizer: torch.optim.Optimizer, batch: Batch, modules: list[nn.Module], *, has_warmup: bool) -> None:
        if not hasattr(step.elbo, "differentiable_loss"):
            raise UntraceableError(f"{type(step.elbo).__name__} has no differentiable_loss")
        self.checks = Checks()
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
