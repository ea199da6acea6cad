"""``fit``: stochastic variational inference for any pair."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pyro.infer import ELBO, RenyiELBO
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from inference.data.alike import remember_reading
from inference.data.batches import TensorBatches, as_batches, as_validation, split_of
from inference.data.fingerprint import FittedRows
from inference.data.units import warn_of_other_units
from inference.numerics import check_device, flushed_denormals, keep_freed_memory
from inference.processes import from_first, is_first, join, world
from inference.svi.compiled import CompiledSteps
from inference.svi.loop import FitResult, Loop
from inference.svi.messengers import KLSchedule, Steering, values_of
from inference.svi.objectives.elbo import default_objective
from inference.svi.optimizers import MakeOptimizer, MakeScheduler, check_optimizer, make_optimizer, make_scheduler
from inference.svi.options import check_kinds, check_options, check_sites
from inference.svi.parameters import guide_parameters, trainable_parameters
from inference.svi.rows import first_run
from inference.svi.scales import warn_of_scales
from inference.svi.state import Keeper, find_fit, id_of_batches, last_path, state_of, tensors_of
from inference.svi.step import SharedStep, Step
from inference.svi.training import Training, Validation
from pyro_lvm.dtypes import Transform
from pyro_lvm.modules import KeepsStatistics, eval_mode, modules_of
from pyro_lvm.pair import Batch, programs
from pyro_lvm.reading import Splits, split_batch
from pyro_lvm.scopes import belongings, isolated
from pyro_lvm.structure import Structure, run_pair


def fit(
    pair: object,
    data: Any,
    *,
    valid: Any = None,
    elbo: ELBO | None = None,
    epochs: int = 100,
    batch_size: int | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    learning_rate: float | None = None,
    optimizer: MakeOptimizer | None = None,
    scheduler: MakeScheduler | None = None,
    kl_weight: KLSchedule | None = None,
    warmup_epochs: int | Mapping[str, int] = 0,
    free_bits: float | Mapping[str, float] = 0.0,
    patience: int | None = None,
    clip_norm: float | None = None,
    alternating: bool = False,
    compile: Literal["auto"] | bool = "auto",
    transform: Transform | None = None,
    checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> FitResult:
    r"""Fit a pair by stochastic variational inference, in place.

    .. math:: \max_{\theta, \phi} \; \sum_n \mathbb{E}_{q_\phi(z \mid x_n)}\big[\log p_\theta(x_n, z) - \log q_\phi(z \mid x_n)\big]

    The pair ends with the weights of its best validation epoch, among them those that it started from, even if training is interrupted.
    If a module of the pair has a method ``after_step()``, as codebooks do, it is called after every update of the parameters. If
    parameters of the pair belong to the rows of the data, as those of an AutoNormal with local latents, every step takes all rows in
    their order. The caller's random state, handlers of Pyro and ``torch.autocast`` have no effect.

    Processes that torchrun has started, or that share a process group of torch, fit the pair together if all of them call this with the
    same arguments. Each takes some rows of every batch, with the noise that these have in one process, so that all end with the weights of
    one process, but for rounding. They start from the weights of the first process, which alone shows progress, writes files and calls
    ``on_epoch``. Steps are not compiled. Refused are pairs whose terms mix the rows of a batch, as batch normalization and codebooks of
    moving averages do, which every epoch's first step tells; guides that draw by rejection, such as gamma and Dirichlet distributions;
    parameters of single rows; and free bits.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``; its parameters belong to modules or to ``pyro.param``.
        data: A tensor, an array or a table ``[N, *X]``, a tuple of these, a torch Dataset, an iterable of batches, or what
            :func:`~inference.data.load.load_data` returns: then its training data, transform and validation data are used.
        valid: Validation data in the same form; they determine which weights are kept, and are needed for ``patience``.
        elbo: Any ``pyro.infer.ELBO``; by default ``Trace_ELBO()``, or ``TraceEnum_ELBO()`` if the model has latents to be summed out.
        epochs: Number of passes through the data.
        batch_size: Number of data per batch; by default 100, or N if N is smaller. A single datum that remains joins the last batch.
        shuffle: Whether the data are reordered in every epoch; an iterable of batches has its own order.
        drop_last: Whether to leave out the last batch of every epoch if it is smaller than the others.
        learning_rate: Learning rate of the optimizer; by default 1e-3 for Adam, and that of any other optimizer itself.
        optimizer: Creates another torch optimizer than Adam from a list of parameters, and from ``lr=`` if ``learning_rate`` is given.
        scheduler: Creates a torch learning-rate scheduler from an optimizer; it is stepped after each epoch, with the validation loss (or
            the training loss) if it needs one.
        kl_weight: Weight of the KL: a number; or ``{"z1": 0.5}`` for some of several latent sites; or a function of the epoch, from 1,
            that returns one of these. By default 1.
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
            an attribute of a module, all further steps are eager, and a warning says so. What the programs themselves change in every run,
            such as a counter, stays as it is in a compiled step.
        transform: Applied to the observations of every training batch; for example, ``torch.bernoulli``.
        checkpoint: File for the best weights so far, written from the first epoch on. Beside it, with ``.last`` in its name, the state of
            the fit is kept, every few seconds and at the end.
        resume: Checkpoint of an earlier fit, or its folder: the fit goes on from the state beside it, and on a CPU ends with the same
            bits as one that was never stopped. Everything must be as it was but ``epochs``, which may be more (a schedule of the learning
            rate must not depend on them), and ``patience``.
        on_epoch: Called after every epoch with the history so far.
        seed: Seed of shuffling and draws; the caller's random state is left unchanged.
        device: Device of the data and modules; by default the one that the modules are on.
        progress: Whether to show a progress bar.

    Returns:
        A :class:`~inference.svi.loop.FitResult`.

    Raises:
        TypeError: If the data have another form, or another number of arguments than the pair takes; or if an optimizer, a scheduler, an
            objective or a function is of a kind that cannot be used.
        FileNotFoundError: If there is no fit to resume.
        ValueError: If an option or the data are invalid, or not those of the fit to resume, or the pair breaks its contract, or cannot be
            fitted by several processes. Options and the first batch are checked before anything is trained, later batches as they come.
        ConnectionError: If another process that fits the pair has ended.
        FloatingPointError: If the loss is no longer finite; the message names epoch, batch and site. With validation data, training
            stops instead, with a warning, and the best weights are kept.
    """
    whole = data
    if isinstance(data, Splits):
        valid, transform = data if valid is None else valid, data.transform if transform is None else transform
        data = split_batch(data, "train")
    check_options(epochs, learning_rate, kl_weight, warmup_epochs, free_bits, patience, clip_norm, compile, valid)
    check_kinds(elbo, seed=seed, alternating=alternating, progress=progress, transform=transform, on_epoch=on_epoch)
    check_optimizer(optimizer, learning_rate, scheduler)
    check_device(device)
    join(device)
    checkpoint, resumed = (checkpoint, None) if resume is None else from_first(lambda: find_fit(resume, checkpoint))
    device = _place(pair, data, device)
    keep_freed_memory()
    with isolated(pair), torch.random.fork_rng(), torch.enable_grad(), flushed_denormals():
        torch.manual_seed(seed)
        remember_reading(pair, whole)
        train = as_batches(data, pair, batch_size=batch_size, device=device, transform=transform, shuffle=shuffle, drop_last=drop_last)
        held_out = None if valid is None else as_validation(split_of(valid, "valid", pair), pair, device)
        steering = Steering(kl_weight, warmup_epochs, free_bits)
        with eval_mode(pair):
            train, batch, structure = first_run(pair, train, batch_size, valid)
            warn_of_other_units(train, held_out)
            warn_of_scales(pair, batch, structure)
            elbo = elbo or default_objective(structure)
            declared_size = check_declared_size(structure, elbo, len(batch[0]), train.num_data)
            groups = _groups(pair, batch, alternating)
        check_sites(
            structure.latents, kl_weight=None if kl_weight is None else steering.weight(1), warmup_epochs=warmup_epochs, free_bits=free_bits
        )
        optimizers = [make_optimizer(optimizer, learning_rate, group) for group in groups]
        schedulers = [make_scheduler(scheduler, each) for each in optimizers] if scheduler else []
        modules = list(dict.fromkeys(module for root in modules_of(pair) for module in root.modules()))
        step = Step(elbo, *steering.wrap(*programs(pair)), steering.kl, declared_size, clip_norm)
        if world() > 1:
            _check_divisible(structure, free_bits, compile)
            step, compile = SharedStep(**vars(step), modules=modules, tensors=tensors_of(pair, modules)), False
        keeper, state, fitted = None, None, id_of_batches(train)
        belongings(pair).fitted = FittedRows.of(*train.tensors) if isinstance(train, TensorBatches) else None
        if checkpoint is not None:
            facts = {
                "seed": seed,
                "data": [len(batch[0]), train.num_data, fitted, None if held_out is None else id_of_batches(held_out)],
                "elbo": type(elbo).__name__,
                "the elbo's options": _options_of(elbo),
                "optimizer": [[type(each).__name__, each.param_groups[0]["lr"]] for each in optimizers],
                "scheduler": [[type(each).__name__, each.state_dict()] for each in schedulers],
                "kl_weight": None if callable(kl_weight) else kl_weight,
                "warmup_epochs": warmup_epochs,
                "free_bits": free_bits,
                "clip_norm": clip_norm,
            }
            keeper = Keeper(last_path(checkpoint), facts) if is_first() else None
            state = None if resumed is None else state_of(resumed, facts)
        done = 0 if state is None else len(state["rows"])
        if done > epochs:
            raise ValueError(f"epochs must be at least {done}, which the fit to resume has made; got {epochs}. Give more.")
        shows = progress and is_first()
        with tqdm(range(done + 1, epochs + 1), desc="fit", unit="epoch", disable=not shows, initial=done, total=epochs) as bar:
            may_change = any(hook is not None for hook in (on_epoch, scheduler, transform))
            steps = step if compile is False else _compiled(step, modules, compile, steering, bar, may_change)
            training = Training(pair, train, steps, optimizers, modules)
            validation = None if held_out is None else Validation(pair, held_out, elbo, declared_size, seed)
            loop = Loop(training, validation, steering, schedulers, modules, seed, device, keeper)
            kept, called = (checkpoint, on_epoch) if is_first() else (None, None)
            return loop.run(bar, patience=patience, checkpoint=kept, on_epoch=called, state=state)


def check_declared_size(structure: Structure, elbo: ELBO, size: int, num_data: int | None) -> int | None:
    """Return the number of data that the plate declares if it exceeds a batch, after checking that it is correct for global latents."""
    declared = structure.full_size if structure.full_size > size else None
    if structure.uneven:
        raise ValueError(
            f"model and guide must give each latent the same weight; their plates differ at {structure.uneven}. Declare the plate of "
            "the data alike in both, with the same size and subsample_size."
        )
    if structure.global_sites and (declared or size) != num_data and not (num_data is None and declared):
        raise ValueError(
            f"site '{structure.global_sites[0]}' lies outside the data plate at dim -1, and batches of {size} are drawn from "
            f"{num_data or 'more'} data: this plate must declare them. Write pyro.plate('data', {num_data or 'N'}, "
            f"subsample_size=len(x), dim=-1), or pass batch_size={num_data or 'N'}."
        )
    if declared and isinstance(elbo, RenyiELBO):
        raise ValueError(
            f"RenyiELBO multiplies log weights by the plate's scale, {declared} / {size}, so that it bounds nothing. Use inference.IWAE, "
            "or write pyro.plate('data', len(x))."
        )
    return declared


def _options_of(elbo: ELBO) -> dict[str, Any]:
    """Return the numbers that an objective was made with, such as ``num_particles``; Pyro itself sets the nesting of plates later."""
    own = {name: value for name, value in vars(elbo).items() if isinstance(value, int | float | str)}
    return {name: value for name, value in own.items() if not name.startswith("_") and name != "max_plate_nesting"}


def _check_divisible(structure: Structure, free_bits: float | Mapping[str, float], compile: Literal["auto"] | bool) -> None:
    """Refuse what several processes cannot do as one does, and what no comparison of one step would show."""
    what = "parameters that belong to rows of the data" if structure.row_parameters else ""
    what = what or ("free_bits, which compare the mean KL of a batch with a number" if any(values_of(free_bits)) else "")
    what = what or ("compile=True" if compile is True else "")
    if what:
        raise ValueError(f"{world()} processes cannot fit a pair together as one does, with {what}. Leave it out, or use one process.")


def _groups(pair: object, batch: Batch, alternating: bool) -> list[list[Tensor]]:
    """Return all parameters in one group, or the guide's parameters and all others in two."""
    parameters = trainable_parameters(pair, belongings(pair).networks)  # of all runs so far
    if not alternating:
        return [parameters]
    guide = guide_parameters(programs(pair)[1], parameters, batch)
    return [group for group in (guide, [p for p in parameters if all(p is not q for q in guide)]) if group]


def _compiled(
    step: Step, modules: list[nn.Module], compile: Literal["auto"] | bool, steering: Steering, bar: tqdm, may_change: bool
) -> CompiledSteps:
    may_change = may_change or any(isinstance(module, KeepsStatistics) for module in modules)
    announce = bar.set_description
    return CompiledSteps(step, modules, is_required=compile is True, has_warmup=steering.weighs, announce=announce, may_change=may_change)


def _place(pair: object, data: object, device: str | torch.device | None) -> torch.device:
    """Return the device of the pair's networks, after moving them if another one is asked for."""
    if not modules_of(pair) and (device is not None or torch.cuda.is_available()):
        _run_once(pair, data)
    if device is not None:
        for module in modules_of(pair):
            module.to(device)
        return torch.device(device)
    return next((p.device for module in modules_of(pair) for p in module.parameters()), torch.device("cpu"))


def _run_once(pair: object, data: object) -> None:
    """Let a pair of functions show its networks, of which even a run that fails on the data's device shows the first."""
    with torch.random.fork_rng(), suppress(Exception):
        run_pair(pair, next(iter(as_batches(data, pair, batch_size=None, device=torch.device("cpu")))))
