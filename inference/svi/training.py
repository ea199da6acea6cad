"""One epoch of a fit: updates on the training data, and the loss on the validation data."""

from dataclasses import dataclass
import math

import pyro
import torch
from torch import nn

from inference.data.batches import Batches
from inference.numerics import generator_of, seeded
from inference.processes import from_first
from inference.svi.step import Objective, Steps, find_culprit
from inference.tracing.patches import no_nan_warnings
from pyro_lvm.contract import check_data
from pyro_lvm.modules import FollowsSteps, eval_mode, train_mode
from pyro_lvm.pair import Batch, programs
from pyro_lvm.structure import remedy_of_large_data


class Training:
    """Updates on the training data.

    Args:
        pair: The pair to fit, whose parameters all exist.
        batches: The training data.
        steps: Makes the updates.
        optimizers: One for all parameters, or several that take turns on every batch.
        modules: The pair's modules and all their submodules.
    """

    def __init__(
        self, pair: object, batches: Batches, steps: Steps, optimizers: list[torch.optim.Optimizer], modules: list[nn.Module]
    ) -> None:
        self.pair, self.batches, self.steps, self.optimizers = pair, batches, steps, optimizers
        self.model, self.guide = programs(pair)
        self.followers = [module for module in modules if isinstance(module, FollowsSteps)]
        self.known = set(pyro.get_param_store().keys())

    def epoch(self, number: int) -> float:
        """Make one pass through the data, and return the mean loss in nats per datum.

        Raises:
            FloatingPointError: If the loss is no longer finite.
            ValueError: If data lie outside their support, or a new parameter has appeared.
        """
        total, count = 0.0, 0
        self.steps.begin_epoch()
        with pyro.validation_enabled(False), train_mode(self.pair), no_nan_warnings():  # a NaN becomes an error in _step
            for place, batch in enumerate(self.batches, start=1):
                for optimizer in self.optimizers:
                    loss = self._step(optimizer, batch, number, place)
                total, count = total + loss * len(batch[0]), count + len(batch[0])
        self._check_no_late_parameters(number)
        return total / count

    def _step(self, optimizer: torch.optim.Optimizer, batch: Batch, epoch: int, place: int) -> float:
        if epoch == 1:
            check_data(self.pair, *batch)
        random_state = generator_of(batch[0].device).get_state()
        loss = self.steps(optimizer, batch)
        if not math.isfinite(loss):
            site = find_culprit(self.pair, batch, random_state)
            remedy = remedy_of_large_data(batch) or ""
            raise FloatingPointError(
                f"the loss is {loss} in epoch {epoch}, batch {place}: {site}. Lower learning_rate, or set clip_norm. {remedy}".strip()
            )
        for module in self.followers:
            module.after_step()
        return loss

    def _check_no_late_parameters(self, epoch: int) -> None:
        late = set(pyro.get_param_store().keys()) - self.known
        if late:
            raise ValueError(
                f"all parameters must exist after the first run of the pair; {sorted(late)} first appeared in epoch {epoch} and "
                "would not be trained. Declare them in every run."
            )


@dataclass(frozen=True)
class Validation:
    """The loss on the validation data, with the same noise after every epoch.

    Args:
        pair: The pair to fit.
        batches: The validation data.
        elbo: The objective.
        declared_size: The number of data that the plate declares, if it exceeds a batch.
        seed: Seed of the noise.
    """

    pair: object
    batches: Batches
    elbo: Objective
    declared_size: int | None
    seed: int

    def loss(self, epoch: int) -> float:
        """Return the mean loss in nats per datum, in evaluation mode, at full KL weight and without free bits.

        Args:
            epoch: The number of the epoch, 0 before the first.

        Raises:
            FloatingPointError: If the loss is not finite, except before the first epoch.
            ValueError: If data lie outside their support.
        """
        model, guide = programs(self.pair)
        total, count = 0.0, 0
        with seeded(self.seed), torch.no_grad(), pyro.validation_enabled(False), eval_mode(self.pair):
            for batch in self.batches:
                size = len(batch[0])
                if epoch == 0:
                    check_data(self.pair, *batch)
                loss = self.elbo.loss(model, guide, *batch)
                total, count = total + loss * size / (self.declared_size or size), count + size
        mean = from_first(lambda: total / count)  # so that all processes decide alike, wherever they run
        if not math.isfinite(mean) and epoch > 0:
            raise FloatingPointError(f"the validation loss is {mean} in epoch {epoch}. Lower learning_rate, or set clip_norm.")
        return mean
