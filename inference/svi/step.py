"""One step of a fit, by one process or several: the loss, its gradients, and which site is at fault if the loss is not finite."""

from collections.abc import Callable
from dataclasses import dataclass, field
import math
from typing import Any, ClassVar, NamedTuple, NoReturn, Protocol, runtime_checkable

import pyro
from pyro import poutine
import torch
from torch import Tensor, nn

from inference.numerics import generator_of, values_kept
from inference.processes import add_up, own_rows, take_from_first
from inference.svi.messengers import KLWeight
from inference.tracing.agreement import agree, agree_on_loss, described
from inference.tracing.draws import REFUSED, Draw, DrawsOfRows, RecordedDraws
from pyro_lvm.pair import Batch, parameters_known, programs
from pyro_lvm.sites import density_sites

Objective = Any  # an ELBO; only its subclasses in Pyro declare loss, loss_and_grads and, mostly, differentiable_loss


@runtime_checkable
class FollowsEpochs(Protocol):
    """Objective that prepares for every epoch, as one that asks again how a pair's programs treat particles."""

    def begin_epoch(self) -> None:
        """Prepare for an epoch."""


class Steps(Protocol):
    """Protocol of a callable that makes the updates of a fit."""

    @property
    def compile_seconds(self) -> float:
        """Time spent on compiling so far."""

    def __call__(self, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        """Update the optimizer's parameters unless the loss is not finite, and return the loss in nats per datum."""

    def begin_epoch(self) -> None:
        """Prepare for an epoch; called before its first step."""

    def plan(self, epochs: int) -> None:
        """Prepare for the given number of epochs to come; called after the first epoch."""

    def state(self, optimizers: list[torch.optim.Optimizer]) -> dict[str, Any]:
        """Return what decides how the steps to come are made."""

    def load(self, state: dict[str, Any], optimizers: list[torch.optim.Optimizer]) -> None:
        """Set what :meth:`state` has returned in another run."""


@dataclass(frozen=True)
class Step:
    """A step of stochastic gradient descent on an objective, run by Pyro.

    Args:
        elbo: The objective.
        model: The model under the messengers of training.
        guide: The guide under the messengers of training.
        kl: The messenger that weights the KL; it is one of the messengers of training if the weight changes.
        declared_size: The number of data that the plate declares, if it exceeds a batch.
        clip_norm: Maximum norm of the gradient.
    """

    elbo: Objective
    model: Callable
    guide: Callable
    kl: KLWeight
    declared_size: int | None
    clip_norm: float | None
    compile_seconds: ClassVar[float] = 0.0

    def begin_epoch(self) -> None:
        """Tell the objective that an epoch begins, if it follows them."""
        if isinstance(self.elbo, FollowsEpochs):
            self.elbo.begin_epoch()

    def plan(self, epochs: int) -> None:
        """Do nothing, as all steps are alike."""

    def state(self, optimizers: list[torch.optim.Optimizer]) -> dict[str, Any]:
        """Return nothing, as all steps are alike."""
        return {}

    def load(self, state: dict[str, Any], optimizers: list[torch.optim.Optimizer]) -> None:
        """Do nothing, as all steps are alike."""

    def __call__(self, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        """Update the optimizer's parameters unless the loss is not finite, and return the loss in nats per datum."""
        parameters = parameters_of(optimizer)
        loss = self.loss_and_gradients(batch, parameters)
        if math.isfinite(loss):
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, self.clip_norm)
            optimizer.step()
        return loss

    def loss(self, batch: Batch) -> Tensor:
        """Return the differentiable loss in nats per datum."""
        with parameters_known():  # to the optimizer
            return self.elbo.differentiable_loss(self.model, self.guide, *batch) / self._size(batch)

    def loss_and_gradients(self, batch: Batch, parameters: list[Tensor]) -> float:
        """Set the parameters' gradients, and return the loss in nats per datum."""
        for parameter in parameters:
            parameter.grad = None  # so that its memory is reused
        if not hasattr(self.elbo, "differentiable_loss"):
            loss = self.elbo.loss_and_grads(self.model, self.guide, *batch) / self._size(batch)
            torch._foreach_div_([p.grad for p in parameters if p.grad is not None], self._size(batch))
            return loss
        loss = self.loss(batch)
        trained = [parameter for parameter in parameters if parameter.requires_grad]  # some may have been frozen since
        for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained, allow_unused=True), strict=True):
            parameter.grad = gradient
        return loss.item()

    def _size(self, batch: Batch) -> int:
        return self.declared_size or len(batch[0])


class Trial(NamedTuple):
    """What a step of one process finds, without an update.

    Attributes:
        loss: The loss in nats per datum.
        gradients: The gradients of the parameters, or None for those that have none.
        buffers: The values of buffers after the step.
        draws: The random operations.
        moved: Numbers of the buffers that the step has changed.
    """

    loss: float
    gradients: list[Tensor | None]
    buffers: list[Tensor]
    draws: RecordedDraws
    moved: list[int]


class Plan(NamedTuple):
    """How processes divide batches of one shape.

    Attributes:
        whole: The random operations of a step on a whole batch.
        own: Those of a step on this process's rows.
        trained: Numbers of the parameters that have gradients.
        moved: Numbers of the buffers that a step changes.
    """

    whole: list[Draw]
    own: list[Draw]
    trained: list[int]
    moved: list[int]


@dataclass(frozen=True)
class SharedStep(Step):
    """A step whose batch is divided among processes: each takes some rows, with the noise that these have in one process.

    Gradients, losses and changes of buffers, such as counts of codes, are summed over the processes. In every epoch, the first step with
    batches of a shape is also made by each process on the whole batch, and the two are compared. So all processes make the update of one
    process, but for rounding, or the fit ends with an error.

    Args:
        modules: The pair's modules and all their submodules.
        tensors: All tensors of the pair; every epoch begins with those of the first process.

    Raises:
        ValueError: On a step, if the sum over the processes is not what one process finds, as with batch normalization.
    """

    modules: list[nn.Module]
    tensors: list[Tensor]
    plans: dict[tuple, Plan] = field(default_factory=dict)

    def begin_epoch(self) -> None:
        """Begin an epoch with the same tensors in all processes, and look again at how batches are divided."""
        super().begin_epoch()
        take_from_first(self.tensors)
        self.plans.clear()

    def loss_and_gradients(self, batch: Batch, parameters: list[Tensor]) -> float:
        """Set the parameters' gradients, and return the loss in nats per datum; both are those of the whole batch."""
        rows, key = own_rows(len(batch[0])), (id(parameters[0]), *((x.shape, x.dtype) for x in batch))
        if rows is None:
            return super().loss_and_gradients(batch, parameters)
        if key in self.plans:
            return self._divided(batch, parameters, rows, self.plans[key])
        first, part = self._tried(batch, parameters), self._tried(tuple(x[rows] for x in batch), parameters)
        once = len(first.draws.found) - len(part.draws.found)  # draws with which an objective finds out about a pair, at its first run
        if 0 < once < len(first.draws.states):
            generator_of(batch[0].device).set_state(first.draws.states[once])
        whole = self._tried(batch, parameters)
        trained = [number for number, gradient in enumerate(whole.gradients) if gradient is not None]
        self.plans[key] = Plan(whole.draws.found, part.draws.found, trained, whole.moved)
        loss = self._divided(batch, parameters, rows, self.plans[key])
        self._compare(whole, loss, parameters)
        return loss

    def _divided(self, batch: Batch, parameters: list[Tensor], rows: slice, plan: Plan) -> float:
        own, size = tuple(x[rows] for x in batch), len(batch[0])
        before = [self._buffers()[number].clone() for number in plan.moved]
        num_particles = self.elbo.num_particles if getattr(self.elbo, "vectorize_particles", False) else 1
        with DrawsOfRows(plan.whole, plan.own, rows, size, num_particles):
            loss = super().loss_and_gradients(own, parameters)
        total = parameters[0].new_tensor(loss)
        gradients = [_gradient_of(parameters[number]) for number in plan.trained]
        changes = [self._buffers()[number] - start for number, start in zip(plan.moved, before, strict=True)]
        with torch.no_grad():
            torch._foreach_mul_([total, *gradients], len(own[0]) / size)
            add_up([total, *gradients, *changes])
            for number, start, change in zip(plan.moved, before, changes, strict=True):
                self._buffers()[number].copy_(start + change)
        return total.item()

    def _tried(self, batch: Batch, parameters: list[Tensor]) -> Trial:
        """Make a step that leaves buffers and the random state unchanged."""
        before = [buffer.clone() for buffer in self._buffers()]
        with torch.random.fork_rng(), values_kept(self._buffers()), RecordedDraws(generator_of(batch[0].device)) as draws:
            loss = super().loss_and_gradients(batch, parameters)
            after = [buffer.clone() for buffer in self._buffers()]
        moved = [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if not torch.equal(old, new)]
        gradients = [None if p.grad is None else p.grad.clone() for p in parameters]
        return Trial(loss, gradients, after, draws, moved)

    def _compare(self, whole: Trial, loss: float, parameters: list[Tensor]) -> None:
        for buffer, wanted in zip(self._buffers(), whole.buffers, strict=True):
            if not agree(buffer, wanted):
                _refuse("a buffer", buffer, wanted)
        total, expected = (parameters[0].new_tensor(value) for value in (loss, whole.loss))
        if not agree_on_loss(total, expected):
            _refuse("the loss", total, expected)
        pairs = [(_gradient_of(p), wanted) for p, wanted in zip(parameters, whole.gradients, strict=True) if wanted is not None]
        norm = float(nn.utils.get_total_norm([wanted for _, wanted in pairs]))
        for gradient, wanted in pairs:
            if not agree(gradient, wanted, norm):
                _refuse("a gradient", gradient, wanted)

    def _buffers(self) -> list[Tensor]:
        return [buffer for module in self.modules for buffer in module._buffers.values() if buffer is not None]


def _gradient_of(parameter: Tensor) -> Tensor:
    """Return the gradient of a parameter, after making it zero if this process's rows have none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _refuse(what: str, got: Tensor, wanted: Tensor) -> NoReturn:
    raise ValueError(
        f"{REFUSED}: {what} is {described(got)} then, not {described(wanted)}. Something mixes the rows of a batch, such as batch "
        "normalization, or belongs to none, such as a global latent with a plate that declares no size. Fit it in one process."
    )


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return all parameters of an optimizer."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def find_culprit(pair: object, batch: Batch, random_state: Tensor) -> str:
    """Replay a step's noise, and describe the first site that is not finite."""
    model, guide = programs(pair)
    with torch.random.fork_rng(), torch.no_grad(), pyro.validation_enabled(False):
        generator_of(batch[0].device).set_state(random_state)
        guide_trace = poutine.trace(guide).get_trace(*batch)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*batch)
    for part, trace in (("guide", guide_trace), ("model", model_trace)):
        for site in density_sites(trace):
            if not site["value"].isfinite().all():
                return f"site '{site['name']}' of the {part} has values that are not finite"
            if not site["fn"].log_prob(site["value"]).isfinite().all():
                return f"site '{site['name']}' of the {part} has a log density that is not finite"
    return "every site is finite by itself; the sum or the objective is not"
