"""One step of a fit: the loss, its gradients, and which site is at fault if the loss is not finite."""

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Any, ClassVar, Protocol, runtime_checkable

import pyro
from pyro import poutine
import torch
from torch import Tensor, nn

from inference.numerics import generator_of
from inference.svi.messengers import KLWeight
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
