"""``fit``: stochastic variational inference for any pair."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
import math
from pathlib import Path
import time
from typing import Literal

import pandas as pd
import pyro
from pyro.infer import ELBO, Trace_ELBO
import torch
from torch import Tensor
from tqdm.auto import tqdm

from inference.batches import Batch, IterableBatches, TensorBatches, Transform, as_batches
from inference.checks import check_options, check_sites
from inference.checkpoint import restore, save_checkpoint, snapshot
from inference.compiled import CompiledSteps
from inference.numerics import flushed_denormals, generator_of, keep_freed_memory, no_nan_warnings
from inference.objectives import FreeBits, KLWeight, values_of
from inference.parameters import guide_parameters, trainable_parameters
from inference.steps import Step, check_observed, find_culprit
from pyro_lvm.contract import check_pair
from pyro_lvm.pair import eval_mode, modules_of, param_scope, programs, train_mode

MakeOptimizer = Callable[[list[Tensor]], torch.optim.Optimizer]
MakeScheduler = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


@dataclass(frozen=True)
class FitResult:
    """What a fit leaves.

    Attributes:
        pair: The pair that was fitted, in place, with the weights of ``best_epoch``.
        history: One row for each epoch: ``epoch``, ``kl_weight`` (by site: ``kl_weight_z1``), ``train_loss``, ``valid_loss`` (both in nats a datum;
            the validation loss is the plain objective, at full KL weight and without free bits), ``learning_rate``, ``seconds``, and what modules of
            the pair tell of themselves in ``epoch_statistics()``, such as the use of codes.
        best_epoch: The epoch with the least validation loss; the last one if there are no validation data.
        stopped_early: Whether patience ran out before the last epoch.
        seed: The seed of the fit.
        compile_seconds: Time that compiling took, part of the epochs' ``seconds``; 0 if no step was compiled.
    """

    pair: object
    history: pd.DataFrame
    best_epoch: int
    stopped_early: bool
    seed: int
    compile_seconds: float = 0.0


def fit(
    pair: object,
    data: object,
    *,
    valid: object | None = None,
    elbo: ELBO | None = None,
    epochs: int = 100,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    optimizer: MakeOptimizer | None = None,
    scheduler: MakeScheduler | None = None,
    warmup_epochs: int | Mapping[str, int] = 0,
    free_bits: float | Mapping[str, float] = 0.0,
    patience: int | None = None,
    clip_norm: float | None = None,
    alternating: bool = False,
    compile: Literal["auto"] | bool = "auto",
    transform: Transform | None = None,
    checkpoint: str | Path | None = None,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> FitResult:
    r"""Fits a pair by stochastic variational inference, in place.

    .. math:: \max_{\theta, \phi} \; \sum_n \mathbb{E}_{q_\phi(z \mid x_n)}\big[\log p_\theta(x_n, z) - \log q_\phi(z \mid x_n)\big]

    The pair ends with the weights of its best validation epoch, also when training is interrupted. A module of the pair that has a method
    ``after_step()``, as codebooks do, is called after every update of the parameters.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``; its parameters may be modules' or ``pyro.param``'s.
        data: A tensor ``[N, *X]``, a tuple of tensors, a torch Dataset, or an iterable of batches.
        valid: Validation data of the same form; they choose the weights that are kept, and feed ``patience``.
        elbo: Any ``pyro.infer.ELBO``; by default ``Trace_ELBO()``.
        epochs: Passes through the data.
        batch_size: Data in a batch; by default 100, or N if that is less.
        learning_rate: Of the default optimizer, Adam.
        optimizer: Makes another torch optimizer from a list of parameters.
        scheduler: Makes a torch learning-rate scheduler from an optimizer; stepped after each epoch.
        warmup_epochs: The weight of the KL rises linearly from ``1 / warmup_epochs`` in the first epoch to 1; ``{"z1": 20}``
            warms up some of several latent sites.
        free_bits: Nats of each latent site's KL that cost nothing; ``{"z1": 2.0}`` for some of several sites.
        patience: Stop after so many epochs without a better validation loss, counted from the end of the warm-up.
        clip_norm: Largest norm of the gradient of a step, in nats a datum.
        alternating: Update guide and generative parameters in turn, the others fixed; shared ones count as the guide's.
        compile: Whether steps are compiled: where that earns its time back, always (and a pair that cannot be is refused), or never.
            What a compiled step does is what an eager one does, on the same noise; of models that cannot be compiled a warning tells why.
        transform: Applied to the observations of every training batch, for instance ``torch.bernoulli``.
        checkpoint: File that holds the best weights so far, from the first epoch on.
        on_epoch: Called after every epoch with the history so far.
        seed: Seed of shuffling and draws; the caller's random state is left as it was.
        device: Where data and modules go; by default where the modules are.
        progress: Whether to show a progress bar.

    Returns:
        A :class:`FitResult`.

    Raises:
        ValueError: If an option or the data are bad, or the pair breaks its contract; nothing is trained then.
        FloatingPointError: If the loss ceases to be finite; names epoch, batch and site.
    """
    check_options(epochs, learning_rate, warmup_epochs, free_bits, patience, clip_norm, compile, valid)
    device = _place(pair, device)
    keep_freed_memory()
    with torch.random.fork_rng(), torch.enable_grad(), param_scope(pair), flushed_denormals():
        torch.manual_seed(seed)
        train = as_batches(data, batch_size=batch_size, device=device, transform=transform)
        held_out = None if valid is None else as_batches(valid, batch_size=None, device=device, shuffle=False)
        loop = _Loop(pair, elbo or Trace_ELBO(), train, held_out, warmup_epochs, free_bits, clip_norm, seed)
        with eval_mode(pair):
            loop.prepare(optimizer or _adam(learning_rate), scheduler, alternating)
        check_sites(loop.latents, warmup_epochs=warmup_epochs, free_bits=free_bits)
        return loop.run(epochs, patience, checkpoint, on_epoch, compile, progress)


@dataclass
class _Loop:
    """The state of one fit."""

    pair: object
    elbo: ELBO
    train: TensorBatches | IterableBatches
    valid: TensorBatches | IterableBatches | None
    warmup_epochs: int | Mapping[str, int]
    free_bits: float | Mapping[str, float]
    clip_norm: float | None
    seed: int
    kl: KLWeight = field(default_factory=KLWeight)
    rows: list[dict] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_epoch: int = 0

    def prepare(self, make_optimizer: MakeOptimizer, make_scheduler: MakeScheduler | None, alternating: bool) -> None:
        """Checks the pair on a first batch, and makes one optimizer for all parameters or one for each group."""
        batch = next(iter(self.train), None)
        if batch is None:
            raise ValueError("data must give at least one batch; got none.")
        structure = check_pair(self.pair, *batch)
        self.latents = structure.latents
        self.declared_size = structure.full_size if structure.full_size > len(batch[0]) else None
        self._check_global_latents(structure.global_sites, len(batch[0]))
        self.model, self.guide = programs(self.pair)
        self.step = Step(self.elbo, *self._steered(), self.kl, self.declared_size, self.clip_norm)
        parameters = trainable_parameters(self.pair, batch)
        self.known = set(pyro.get_param_store().keys())
        self.modules = list(dict.fromkeys(module for root in modules_of(self.pair) for module in root.modules()))
        self.followers = [module for module in self.modules if hasattr(module, "after_step")]
        groups = [parameters]
        if alternating:
            shared = guide_parameters(self.guide, parameters, batch)
            groups = [shared, [p for p in parameters if all(p is not q for q in shared)]]
        self.optimizers = [make_optimizer(group) for group in groups if group]
        self.schedulers = [make_scheduler(optimizer) for optimizer in self.optimizers] if make_scheduler else []

    def run(
        self,
        epochs: int,
        patience: int | None,
        checkpoint: str | Path | None,
        on_epoch: Callable[[pd.DataFrame], None] | None,
        compile: Literal["auto"] | bool,
        progress: bool,
    ) -> FitResult:
        stopped, longest_warmup = False, max(values_of(self.warmup_epochs), default=0)
        with tqdm(range(1, epochs + 1), desc="fit", unit="epoch", disable=not progress) as bar:
            compiled = CompiledSteps(
                self.step, self.modules, is_required=compile is True, has_warmup=longest_warmup > 0, announce=bar.set_description
            )
            self.step = self.step if compile is False else compiled
            try:
                for epoch in bar:
                    self.kl.weight = _kl_weight(epoch, self.warmup_epochs)
                    self._epoch(epoch)
                    if epoch == 1:
                        compiled.plan(epochs - 1)
                    if self._is_best():
                        self.best, self.best_epoch = snapshot(self.pair), epoch
                        if checkpoint is not None:
                            save_checkpoint(self.pair, checkpoint)
                    if on_epoch is not None:
                        on_epoch(pd.DataFrame(self.rows))
                    bar.set_postfix({k: f"{self.rows[-1][k]:.2f}" for k in ("train_loss", "valid_loss") if k in self.rows[-1]})
                    stopped = patience is not None and epoch - max(self.best_epoch, longest_warmup) >= patience
                    if stopped:
                        break
            finally:
                if self.best is not None:
                    restore(self.pair, snapshot(self.pair) | self.best)
        return FitResult(self.pair, pd.DataFrame(self.rows), self.best_epoch, stopped, self.seed, compiled.seconds)

    def _epoch(self, epoch: int) -> None:
        start, total, count = time.perf_counter(), 0.0, 0
        row = {"epoch": epoch} | _named("kl_weight", self.kl.weight)
        with pyro.validation_enabled(False), train_mode(self.pair), no_nan_warnings():  # a NaN becomes an error here
            for number, batch in enumerate(self.train, start=1):
                for optimizer in self.optimizers:
                    loss = self._step(optimizer, batch, epoch, number)
                total, count = total + loss * len(batch[0]), count + len(batch[0])
        row["train_loss"] = total / count
        self._check_no_late_parameters(epoch)
        if self.valid is not None:
            row["valid_loss"] = self._valid_loss(epoch)
        row["learning_rate"] = self.optimizers[0].param_groups[0]["lr"]
        for module in self.modules:
            row |= module.epoch_statistics() if hasattr(module, "epoch_statistics") else {}
        for scheduler in self.schedulers:
            scheduler.step()
        self.rows.append(row | {"seconds": time.perf_counter() - start})

    def _step(self, optimizer: torch.optim.Optimizer, batch: Batch, epoch: int, number: int) -> float:
        if epoch == 1:
            with eval_mode(self.pair):
                check_observed(self.model, self.guide, batch)
        random_state = generator_of(batch[0].device).get_state()
        loss = self.step(optimizer, batch)
        if not math.isfinite(loss):
            site = find_culprit(self.pair, batch, random_state)
            raise FloatingPointError(f"the loss is {loss} in epoch {epoch}, batch {number}: {site}. Lower learning_rate, or set clip_norm.")
        for module in self.followers:
            module.after_step()
        return loss

    def _steered(self) -> tuple[Callable, Callable]:
        """The pair's programs under those messengers of training that do anything, as each takes time at every site."""
        model, guide = self.model, self.guide
        if any(values_of(self.warmup_epochs)):
            model, guide = self.kl(model), self.kl(guide)
        if any(values_of(self.free_bits)):
            free = FreeBits(self.free_bits, self.kl)
            model, guide = free.model(model), free.guide(guide)
        return model, guide

    def _valid_loss(self, epoch: int) -> float:
        total, count = 0.0, 0
        with torch.random.fork_rng(), torch.no_grad(), pyro.validation_enabled(False), eval_mode(self.pair):
            torch.manual_seed(self.seed)
            for batch in self.valid:
                size = len(batch[0])
                if epoch == 1:
                    check_observed(self.model, self.guide, batch)
                loss = self.elbo.loss(self.model, self.guide, *batch)
                total, count = total + loss * size / (self.declared_size or size), count + size
        if not math.isfinite(total):
            raise FloatingPointError(f"the validation loss is {total / count} in epoch {epoch}. Lower learning_rate, or set clip_norm.")
        return total / count

    def _check_no_late_parameters(self, epoch: int) -> None:
        late = set(pyro.get_param_store().keys()) - self.known
        if late:
            raise ValueError(
                f"all parameters must exist after the first run of the pair; {sorted(late)} came in epoch {epoch}, and would not be "
                "trained. Declare them in every run."
            )

    def _is_best(self) -> bool:
        if self.valid is None:
            return True
        *earlier, last = [row["valid_loss"] for row in self.rows]
        return last < min(earlier, default=math.inf)

    def _check_global_latents(self, global_sites: tuple[str, ...], size: int) -> None:
        num_data = self.train.num_data
        declared = size if self.declared_size is None else self.declared_size
        if not global_sites or declared == num_data or (num_data is None and declared > size):
            return
        raise ValueError(
            f"site '{global_sites[0]}' lies outside the data plate, and batches of {size} are drawn from {num_data or 'more'} data: the "
            f"plate must declare them. Write pyro.plate('data', {num_data or 'N'}, subsample_size=len(x))."
        )


def _kl_weight(epoch: int, warmup_epochs: int | Mapping[str, int]) -> float | dict[str, float]:
    if isinstance(warmup_epochs, Mapping):
        return {site: _kl_weight(epoch, length) for site, length in warmup_epochs.items()}
    return min(1.0, epoch / warmup_epochs) if warmup_epochs else 1.0


def _named(name: str, value: float | dict[str, float]) -> dict[str, float]:
    return {f"{name}_{site}": v for site, v in value.items()} if isinstance(value, dict) else {name: value}


def _adam(learning_rate: float) -> MakeOptimizer:
    return lambda parameters: torch.optim.Adam(parameters, lr=learning_rate, fused=True)


def _place(pair: object, device: str | torch.device | None) -> torch.device:
    if device is not None:
        for module in modules_of(pair):
            module.to(device)
        return torch.device(device)
    return next((p.device for module in modules_of(pair) for p in module.parameters()), torch.device("cpu"))
