"""The epochs of a fit: their history, when to stop, and which weights are kept."""

from collections.abc import Callable
from dataclasses import dataclass
import math
from pathlib import Path
import time
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm.auto import tqdm

from inference.checkpoint import all_tensors, put_back, save_checkpoint, snapshot
from inference.svi.messengers import Steering
from inference.svi.state import Keeper, random_state, set_random_state, set_tensors, tensors_of
from inference.svi.training import Training, Validation
from pyro_lvm.checks import warn_caller
from pyro_lvm.modules import KeepsStatistics

COLUMNS = ["epoch", "kl_weight", "train_loss", "valid_loss", "learning_rate", "seconds"]  # of a history without epochs


@dataclass(frozen=True)
class FitResult:
    """The result of a fit.

    Attributes:
        pair: The pair that was fitted, in place, with the weights of ``best_epoch``.
        history: One row per epoch, with the columns ``epoch``, ``kl_weight`` (by site: ``kl_weight_z1``), ``train_loss``, ``valid_loss``
            (both in nats per datum; the validation loss is the plain objective, at full KL weight and without free bits),
            ``learning_rate``, ``seconds``, and those that modules of the pair return from ``epoch_statistics()``, such as the use of codes.
        best_epoch: The epoch with the lowest validation loss, 0 for the weights before training; the last epoch if there are no
            validation data.
        best_loss: The validation loss of that epoch; NaN if there are no validation data.
        stopped_early: Whether ``patience``, or a loss that was not finite, stopped training before the last epoch.
        seed: The seed of the fit.
        compile_seconds: Time spent on compiling, included in the epochs' ``seconds``; 0 if no step was compiled.
    """

    pair: object
    history: pd.DataFrame
    best_epoch: int
    best_loss: float
    stopped_early: bool
    seed: int
    compile_seconds: float = 0.0


@dataclass(frozen=True)
class Loop:
    """The loop over the epochs of a fit.

    Args:
        training: Updates on the training data.
        validation: The loss on the validation data, if there are any.
        steering: Sets the weight of the KL in each epoch.
        schedulers: Schedulers of the learning rates, stepped after each epoch.
        modules: The pair's modules and all their submodules.
        seed: The seed of the fit.
        device: The device of the data.
        keeper: Writes the state between epochs, if it is to be kept.
    """

    training: Training
    validation: Validation | None
    steering: Steering
    schedulers: list[torch.optim.lr_scheduler.LRScheduler]
    modules: list[nn.Module]
    seed: int
    device: torch.device
    keeper: Keeper | None

    def run(
        self,
        bar: tqdm,
        *,
        patience: int | None,
        checkpoint: str | Path | None,
        on_epoch: Callable[[pd.DataFrame], None] | None,
        state: dict[str, Any] | None,
    ) -> FitResult:
        """Run the epochs of a progress bar; the pair ends with its best weights, even if the run is interrupted.

        Args:
            bar: The epochs to come.
            patience: Number of epochs without a better validation loss after which training stops.
            checkpoint: File for the best weights so far.
            on_epoch: Called after every epoch with the history so far.
            state: The state of a fit that goes on.
        """
        pair, best = self.training.pair, Best(self.training.pair, checkpoint)
        rows: list[dict[str, float]] = []
        try:
            if state is not None:
                rows = self._load(state, best)
            elif self.validation is not None:
                best.offer(0, self.validation.loss(0))
            stopped = self._is_stopped(rows, best, patience)
            for epoch in () if stopped else bar:
                rows.append(self._epoch(epoch))
                if epoch == 1:
                    self.training.steps.plan(bar.total - 1)
                best.offer(epoch, rows[-1].get("valid_loss"))
                if on_epoch is not None:
                    on_epoch(pd.DataFrame(rows))
                bar.set_postfix({name: f"{rows[-1][name]:.2f}" for name in ("train_loss", "valid_loss") if name in rows[-1]})
                stopped = self._is_stopped(rows, best, patience)
                if self.keeper is not None and (self.keeper.is_due or stopped or epoch == bar.total):
                    self.keeper.write(self._state(rows, best))
                if stopped:
                    break
        except FloatingPointError as error:
            if math.isnan(best.valid_loss):
                raise
            stopped = True
            warn_caller(f"training stopped early: {error} The pair keeps the weights of epoch {best.epoch}.")
        finally:
            best.restore()
        return FitResult(
            pair,
            pd.DataFrame(rows, columns=None if rows else COLUMNS),
            best.epoch,
            best.valid_loss,
            stopped,
            self.seed,
            self.training.steps.compile_seconds,
        )

    def _is_stopped(self, rows: list[dict[str, float]], best: "Best", patience: int | None) -> bool:
        return patience is not None and len(rows) - max(best.epoch, self.steering.longest_warmup) >= patience

    def _state(self, rows: list[dict[str, float]], best: "Best") -> dict[str, Any]:
        """Return all that the epochs to come depend on."""
        return {
            "rows": rows,
            "best": best.state(len(rows)),
            "tensors": tensors_of(self.training.pair, self.modules),
            "optimizers": [optimizer.state_dict() for optimizer in self.training.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "steps": self.training.steps.state(self.training.optimizers),
            "random": random_state(self.device),
        }

    def _load(self, state: dict[str, Any], best: "Best") -> list[dict[str, float]]:
        """Put everything back into the state between two epochs, and return the history so far."""
        set_tensors(tensors_of(self.training.pair, self.modules), state["tensors"])
        for optimizer, own in zip(self.training.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        for scheduler, own in zip(self.schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(own)
        self.training.steps.load(state["steps"], self.training.optimizers)
        best.load(state["best"])
        set_random_state(state["random"], self.device)
        return list(state["rows"])

    def _epoch(self, epoch: int) -> dict[str, float]:
        start = time.perf_counter()
        row = {"epoch": epoch} | self.steering.begin_epoch(epoch)
        row["train_loss"] = self.training.epoch(epoch)
        if self.validation is not None:
            row["valid_loss"] = self.validation.loss(epoch)
        row["learning_rate"] = self.training.optimizers[0].param_groups[0]["lr"]
        for module in self.modules:
            row |= module.epoch_statistics() if isinstance(module, KeepsStatistics) else {}
        for scheduler in self.schedulers:
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(row.get("valid_loss", row["train_loss"]))
            else:
                scheduler.step()
        return row | {"seconds": time.perf_counter() - start}


class Best:
    """The weights of the epoch with the lowest validation loss so far, in memory and, optionally, in a file."""

    def __init__(self, pair: object, checkpoint: str | Path | None) -> None:
        self.pair, self.checkpoint = pair, checkpoint
        self.epoch, self.loss, self.valid_loss = 0, math.inf, math.nan
        self.kept: list[tuple[Tensor, Tensor]] = []

    def offer(self, epoch: int, loss: float | None) -> None:
        """Keep the current weights if the loss is lower than before, or if there is no loss."""
        if loss is not None and not loss < self.loss:
            return
        self.epoch, self.kept = epoch, snapshot(self.pair)
        if loss is not None:
            self.loss = self.valid_loss = loss
        if self.checkpoint is not None:
            save_checkpoint(self.pair, self.checkpoint)

    def state(self, epoch: int) -> dict[str, Any]:
        """Return the state after an epoch; the best weights are left out if they are those of that epoch."""
        values = None if self.epoch == epoch else [values for _, values in self.kept]
        return {"epoch": self.epoch, "loss": self.loss, "valid_loss": self.valid_loss, "values": values}

    def load(self, state: dict[str, Any]) -> None:
        """Set the state, after the pair's own."""
        self.epoch, self.loss, self.valid_loss = state["epoch"], state["loss"], state["valid_loss"]
        self.kept = snapshot(self.pair) if state["values"] is None else list(zip(all_tensors(self.pair), state["values"], strict=True))
        if self.checkpoint is not None:  # whose file may be of a later epoch
            present = snapshot(self.pair)
            self.restore()
            save_checkpoint(self.pair, self.checkpoint)
            put_back(present)

    def restore(self) -> None:
        """Restore the pair's best weights; tensors created since then keep their values."""
        put_back(self.kept)
