"""The epochs of a fit: their history, when to stop, and which weights are kept."""

from collections.abc import Callable
from dataclasses import dataclass
import math
from pathlib import Path
import time

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm.auto import tqdm

from inference.checkpoint import put_back, save_checkpoint, snapshot
from inference.svi.messengers import Steering
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
    """

    training: Training
    validation: Validation | None
    steering: Steering
    schedulers: list[torch.optim.lr_scheduler.LRScheduler]
    modules: list[nn.Module]
    seed: int

    def run(
        self, bar: tqdm, *, patience: int | None, checkpoint: str | Path | None, on_epoch: Callable[[pd.DataFrame], None] | None
    ) -> FitResult:
        """Run the epochs of a progress bar; the pair ends with its best weights, even if the run is interrupted."""
        pair, rows, best, stopped = self.training.pair, [], Best(self.training.pair, checkpoint), False
        try:
            if self.validation is not None:
                best.offer(0, self.validation.loss(0))
            for epoch in bar:
                rows.append(self._epoch(epoch))
                if epoch == 1:
                    self.training.steps.plan(len(bar) - 1)
                best.offer(epoch, rows[-1].get("valid_loss"))
                if on_epoch is not None:
                    on_epoch(pd.DataFrame(rows))
                bar.set_postfix({name: f"{rows[-1][name]:.2f}" for name in ("train_loss", "valid_loss") if name in rows[-1]})
                stopped = patience is not None and epoch - max(best.epoch, self.steering.longest_warmup) >= patience
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

    def restore(self) -> None:
        """Restore the pair's best weights; tensors created since then keep their values."""
        put_back(self.kept)
