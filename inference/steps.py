"""One step of a fit: the loss, its gradients, and who is to blame when it is not finite."""

from collections.abc import Callable

import pyro
from pyro import poutine
from pyro.infer import ELBO
from pyro.poutine.messenger import Messenger
import torch
from torch import Tensor

from inference.batches import Batch
from pyro_lvm.contract import check_batch, check_support
from pyro_lvm.pair import density_sites, is_data, programs


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


def loss_and_gradients(
    elbo: ELBO, model: Callable, guide: Callable, batch: Batch, parameters: list[Tensor], size: int
) -> float:
    """The loss in nats a datum; leaves its gradients in ``parameters``."""
    if not hasattr(elbo, "differentiable_loss"):
        for parameter in parameters:
            parameter.grad = None
        loss = elbo.loss_and_grads(model, guide, *batch) / size
        torch._foreach_div_([p.grad for p in parameters if p.grad is not None], size)
        return loss
    loss = elbo.differentiable_loss(model, guide, *batch) / size
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
        parameter.grad = gradient
    return loss.item()


def find_culprit(pair: object, batch: Batch, random_state: Tensor) -> str:
    """Names the first site that is not finite, replaying a step's noise."""
    model, guide = programs(pair)
    with torch.random.fork_rng(), torch.no_grad(), pyro.validation_enabled(False):
        torch.set_rng_state(random_state)
        guide_trace = poutine.trace(guide).get_trace(*batch)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*batch)
    for part, trace in (("guide", guide_trace), ("model", model_trace)):
        for site in density_sites(trace):
            if not site["value"].isfinite().all():
                return f"site '{site['name']}' of the {part} has values that are not finite"
            if not site["fn"].log_prob(site["value"]).isfinite().all():
                return f"site '{site['name']}' of the {part} has a log density that is not finite"
    return "every site is finite by itself; the sum or the objective is not"
