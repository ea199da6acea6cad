"""One step of a fit: the loss, its gradients, and who is to blame when it is not finite."""

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import ClassVar, Protocol

import pyro
from pyro import poutine
from pyro.infer import ELBO
from pyro.poutine.messenger import Messenger
import torch
from torch import Tensor, nn

from inference.numerics import generator_of
from inference.svi.messengers import KLWeight
from pyro_lvm.contract import check_batch, check_support
from pyro_lvm.pair import Batch, parameters_known, programs
from pyro_lvm.sites import density_sites, is_data


class NoteObserved(Messenger):
    """Notes the observed sites of a run."""

    def __init__(self) -> None:
        super().__init__()
        self.sites: list[dict] = []

    def _pyro_post_sample(self, msg: dict) -> None:
        if msg["type"] == "sample" and is_data(msg):
            self.sites.append(msg)

    def check(self, batch: Batch) -> None:
        """Checks that the batch is finite and that the observed data lie in their supports."""
        check_batch(*batch)
        for site in self.sites:
            check_support(site)


class Steps(Protocol):
    """What makes the updates of a fit."""

    @property
    def compile_seconds(self) -> float:
        """Time that compiling took so far."""

    def __call__(self, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        """Updates the optimizer's parameters, unless the loss is not finite; gives the loss in nats a datum."""

    def plan(self, epochs: int) -> None:
        """Told after the first epoch how many are still to come."""


@dataclass(frozen=True)
class Step:
    """A step of stochastic gradient descent on an objective, run by Pyro.

    Args:
        elbo: The objective.
        model: The model under the messengers of training.
        guide: The guide under the messengers of training.
        kl: The messenger that weights the KL, one of theirs where it changes.
        declared_size: The size of the data that the plate declares, if it is more than a batch.
        clip_norm: Largest norm of the gradient.
    """

    elbo: ELBO
    model: Callable
    guide: Callable
    kl: KLWeight
    declared_size: int | None
    clip_norm: float | None
    compile_seconds: ClassVar[float] = 0.0

    def plan(self, epochs: int) -> None:
        """Nothing is planned: every step is alike."""

    def __call__(self, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        """Updates the optimizer's parameters, unless the loss is not finite; gives the loss in nats a datum."""
        parameters = parameters_of(optimizer)
        loss = self._loss_and_gradients(batch, parameters)
        if math.isfinite(loss):
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, self.clip_norm)
            optimizer.step()
        return loss

    def loss(self, batch: Batch) -> Tensor:
        """The differentiable loss in nats a datum."""
        with parameters_known():  # by the optimizer
            return self.elbo.differentiable_loss(self.model, self.guide, *batch) / self._size(batch)

    def _loss_and_gradients(self, batch: Batch, parameters: list[Tensor]) -> float:
        for parameter in parameters:
            parameter.grad = None  # so that its memory is used again
        if not hasattr(self.elbo, "differentiable_loss"):
            loss = self.elbo.loss_and_grads(self.model, self.guide, *batch) / self._size(batch)
            torch._foreach_div_([p.grad for p in parameters if p.grad is not None], self._size(batch))
            return loss
        loss = self.loss(batch)
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
            parameter.grad = gradient
        return loss.item()

    def _size(self, batch: Batch) -> int:
        return self.declared_size or len(batch[0])


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """All parameters of an optimizer."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def check_observed(model: Callable, guide: Callable, batch: Batch) -> None:
    """Runs a pair, and checks that the batch is finite and that what it observes lies in its support."""
    with torch.random.fork_rng(), torch.no_grad(), NoteObserved() as observed:
        poutine.replay(model, trace=poutine.trace(guide).get_trace(*batch))(*batch)
    observed.check(batch)


def find_culprit(pair: object, batch: Batch, random_state: Tensor) -> str:
    """Names the first site that is not finite, replaying a step's noise."""
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
