"""``fit``: stochastic variational inference for any pair."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
from pyro.infer import ELBO, Trace_ELBO
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from inference.data.batches import Batches, Transform, as_batches
from inference.numerics import flushed_denormals, keep_freed_memory
from inference.svi.compiled import CompiledSteps
from inference.svi.loop import FitResult, Loop
from inference.svi.messengers import Steering
from inference.svi.options import check_options, check_sites
from inference.svi.parameters import guide_parameters, trainable_parameters
from inference.svi.step import Step
from inference.svi.training import Training, Validation
from pyro_lvm.contract import Structure, check_pair
from pyro_lvm.modules import KeepsStatistics, eval_mode, modules_of
from pyro_lvm.pair import Batch, param_scope, programs

MakeOptimizer = Callable[[list[Tensor]], torch.optim.Optimizer]
MakeScheduler = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


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
    r"""Fit a pair by stochastic variational inference, in place.

    .. math:: \max_{\theta, \phi} \; \sum_n \mathbb{E}_{q_\phi(z \mid x_n)}\big[\log p_\theta(x_n, z) - \log q_\phi(z \mid x_n)\big]

    The pair ends with the weights of its best validation epoch, even if training is interrupted. If a module of the pair has a method
    ``after_step()``, as codebooks do, it is called after every update of the parameters.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``; its parameters belong to modules or to ``pyro.param``.
        data: A tensor ``[N, *X]``, a tuple of tensors, a torch Dataset, or an iterable of batches.
        valid: Validation data in the same form; they determine which weights are kept, and are needed for ``patience``.
        elbo: Any ``pyro.infer.ELBO``; by default ``Trace_ELBO()``.
        epochs: Number of passes through the data.
        batch_size: Number of data per batch; by default 100, or N if N is smaller.
        learning_rate: Learning rate of the default optimizer, Adam.
        optimizer: Creates another torch optimizer from a list of parameters.
        scheduler: Creates a torch learning-rate scheduler from an optimizer; it is stepped after each epoch.
        warmup_epochs: Number of epochs over which the weight of the KL rises linearly to 1, from ``1 / warmup_epochs`` in the first epoch;
            ``{"z1": 20}`` applies to some of several latent sites.
        free_bits: Nats of each latent site's KL that cost nothing; ``{"z1": 2.0}`` applies to some of several latent sites.
        patience: Number of epochs without a better validation loss after which training stops, counted from the end of the warm-up.
        clip_norm: Maximum norm of the gradient of a step, in nats per datum.
        alternating: Whether to update the guide's parameters and the generative parameters in turn, with the other group fixed; shared
            parameters count as the guide's.
        compile: Whether to compile steps: ``"auto"`` does so if the time saved exceeds the time that compiling takes, and warns if the pair
            cannot be compiled; ``True`` always does so, and refuses a pair that cannot be compiled; ``False`` never does so. A compiled
            step does the same as an eager one, on the same noise. If what Python does in a step changes later, as when ``on_epoch`` sets
            an attribute of a module, all further steps are eager, and a warning says so.
        transform: Applied to the observations of every training batch; for example, ``torch.bernoulli``.
        checkpoint: File for the best weights so far, written from the first epoch on.
        on_epoch: Called after every epoch with the history so far.
        seed: Seed of shuffling and draws; the caller's random state is left unchanged.
        device: Device of the data and modules; by default the one that the modules are on.
        progress: Whether to show a progress bar.

    Returns:
        A :class:`~inference.svi.loop.FitResult`.

    Raises:
        ValueError: If an option or the data are invalid, or the pair breaks its contract. Options and the first batch are checked
            before anything is trained, later batches as they come.
        FloatingPointError: If the loss is no longer finite; the message names epoch, batch and site.
    """
    check_options(epochs, learning_rate, warmup_epochs, free_bits, patience, clip_norm, compile, valid)
    device = _place(pair, device)
    keep_freed_memory()
    with torch.random.fork_rng(), torch.enable_grad(), param_scope(pair), flushed_denormals():
        torch.manual_seed(seed)
        train = as_batches(data, batch_size=batch_size, device=device, transform=transform)
        held_out = None if valid is None else as_batches(valid, batch_size=None, device=device, shuffle=False)
        elbo, steering = elbo or Trace_ELBO(), Steering(warmup_epochs, free_bits)
        with eval_mode(pair):
            batch = _first_batch(train)
            structure = check_pair(pair, *batch)
            declared_size = _declared_size(structure, len(batch[0]), train.num_data)
            optimizers = _make_optimizers(pair, batch, optimizer or _adam(learning_rate), alternating)
        check_sites(structure.latents, warmup_epochs=warmup_epochs, free_bits=free_bits)
        schedulers = [scheduler(each) for each in optimizers] if scheduler else []
        step = Step(elbo, *steering.wrap(*programs(pair)), steering.kl, declared_size, clip_norm)
        modules = list(dict.fromkeys(module for root in modules_of(pair) for module in root.modules()))
        with tqdm(range(1, epochs + 1), desc="fit", unit="epoch", disable=not progress) as bar:
            may_change = any(hook is not None for hook in (on_epoch, scheduler, transform))
            steps = step if compile is False else _compiled(step, modules, compile, steering, bar, may_change)
            training = Training(pair, train, steps, optimizers, modules)
            validation = None if held_out is None else Validation(pair, held_out, elbo, declared_size, seed)
            loop = Loop(training, validation, steering, schedulers, modules, seed)
            return loop.run(bar, patience=patience, checkpoint=checkpoint, on_epoch=on_epoch)


def _first_batch(train: Batches) -> Batch:
    batch = next(iter(train), None)
    if batch is None:
        raise ValueError("data must yield at least one batch; got none.")
    return batch


def _declared_size(structure: Structure, size: int, num_data: int | None) -> int | None:
    """Return the number of data that the plate declares if it exceeds a batch, after checking that it is correct for global latents."""
    declared = structure.full_size if structure.full_size > size else None
    if structure.global_sites and (declared or size) != num_data and not (num_data is None and declared):
        raise ValueError(
            f"site '{structure.global_sites[0]}' lies outside the data plate, and batches of {size} are drawn from {num_data or 'more'} "
            f"data: the plate must declare them. Write pyro.plate('data', {num_data or 'N'}, subsample_size=len(x))."
        )
    return declared


def _make_optimizers(pair: object, batch: Batch, make_optimizer: MakeOptimizer, alternating: bool) -> list[torch.optim.Optimizer]:
    """Make one optimizer for all parameters, or one for the guide's parameters and one for all others."""
    parameters = trainable_parameters(pair, batch)
    groups = [parameters]
    if alternating:
        guide = guide_parameters(programs(pair)[1], parameters, batch)
        groups = [guide, [p for p in parameters if all(p is not q for q in guide)]]
    return [make_optimizer(group) for group in groups if group]


def _compiled(
    step: Step, modules: list[nn.Module], compile: Literal["auto"] | bool, steering: Steering, bar: tqdm, may_change: bool
) -> CompiledSteps:
    has_warmup, may_change = steering.longest_warmup > 0, may_change or any(isinstance(module, KeepsStatistics) for module in modules)
    announce = bar.set_description
    return CompiledSteps(step, modules, is_required=compile is True, has_warmup=has_warmup, announce=announce, may_change=may_change)


def _adam(learning_rate: float) -> MakeOptimizer:
    return lambda parameters: torch.optim.Adam(parameters, lr=learning_rate, fused=True)


def _place(pair: object, device: str | torch.device | None) -> torch.device:
    if device is not None:
        for module in modules_of(pair):
            module.to(device)
        return torch.device(device)
    return next((p.device for module in modules_of(pair) for p in module.parameters()), torch.device("cpu"))
