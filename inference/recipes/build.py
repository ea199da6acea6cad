"""Data, models, fits and scores built from options."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pandas import DataFrame
import pyro
import torch
from torch import Tensor, nn

from inference.data.load import Data, load_data
from inference.data.treatments import drawn_once
from inference.numerics import seeded
from inference.recipes.codes import start_codebook
from inference.recipes.combinations import check_parts
from inference.recipes.fits import OBJECTIVES, SCHEDULES
from inference.recipes.networks import INITS
from inference.recipes.options import DataOptions, EvaluateOptions, FitOptions, ModelOptions
from inference.recipes.structures import STRUCTURES, AnyVAE
from inference.scoring.annealed.bounds import BidirectionalBounds, bidirectional
from inference.scoring.evaluation import Evaluation
from inference.scoring.importance import evaluate
from inference.svi.fitting import fit
from inference.svi.loop import FitResult
from pyro_lvm.contract import check_pair
from pyro_lvm.rows.lazy import in_parts


def load(options: DataOptions) -> Data:
    """The data that the options name; see :func:`inference.data.load.load_data`."""
    return load_data(**asdict(options))


def build_vae(options: ModelOptions, train: Tensor) -> AnyVAE:
    """Build a VAE from options, with output biases, noise scales and pseudo-inputs initialized from the data.

    Args:
        options: Names and sizes of the parts.
        train: Training data as the model sees them, ``[N, *X]``: binarized or dequantized if they are to be so.

    Returns:
        The VAE, not yet fitted.

    Raises:
        ValueError: If parts do not go together, a size is wrong, a part does not fit the data's shape, or the data lie outside the
            likelihood's support.
    """
    check_parts(options)
    with seeded(options.seed):
        vae = STRUCTURES[options.structure](options, train)
        INITS[options.init](vae)
        start_codebook(vae, train, seed=options.seed)
    _check_likelihood(options, vae.likelihood, train)
    _check_scorable(vae, train)
    return vae


def seen_by_model(data: Data, *, seed: int = 0) -> Tensor:
    """The training data as the model sees them, after one draw of their transform's noise, ``[N, *X]``."""
    return data.train if data.transform is None else drawn_once(data.train, data.transform, seed)


def fit_vae(
    vae: AnyVAE,
    data: Data,
    options: FitOptions,
    *,
    checkpoint: Path | None = None,
    resume: Path | None = None,
    on_epoch: Callable[[DataFrame], None] | None = None,
    device: str | None = None,
    progress: bool = True,
) -> FitResult:
    """Fit a VAE with the given options; see :func:`inference.svi.fitting.fit`."""
    named = ("objective", "num_particles", "schedule")
    return fit(
        vae,
        data.train,
        valid=data.valid,
        elbo=OBJECTIVES[options.objective](options.num_particles),
        scheduler=SCHEDULES[options.schedule](options.epochs),
        transform=data.transform,
        checkpoint=checkpoint,
        resume=resume,
        on_epoch=on_epoch,
        device=device,
        progress=progress,
        **{name: value for name, value in asdict(options).items() if name not in named},
    )


def evaluate_vae(vae: AnyVAE, data: Data, options: EvaluateOptions, *, device: str | None = None, progress: bool = False) -> Evaluation:
    """Score a split of the data; see :func:`inference.scoring.importance.evaluate`."""
    return evaluate_rows(vae, getattr(data, options.split), options, device=device, progress=progress)


def evaluate_rows(vae: AnyVAE, x: Tensor, options: EvaluateOptions, *, device: str | None = None, progress: bool = False) -> Evaluation:
    """Score data ``[N, *X]``; see :func:`inference.scoring.importance.evaluate`."""
    how = {name: value for name, value in asdict(options).items() if name != "split"}
    return evaluate(vae.to(device), x.to(device), **how, progress=progress)


def bound_vae(
    vae: AnyVAE, data: Data, options: EvaluateOptions, num_data: int, *, device: str | None = None, progress: bool = False
) -> BidirectionalBounds:
    """Bound log p(x) of simulated data; see :func:`inference.scoring.annealed.bounds.bidirectional`."""
    x = getattr(data, options.split)[:1].expand(num_data, *data.train.shape[1:])
    chains = options if options.method == "ais" else replace(options, method="ais", num_particles=None)
    num_particles, num_steps = chains.counts
    return bidirectional(
        vae.to(device),
        x.to(device),
        num_particles=num_particles,
        num_steps=num_steps,
        seed=options.seed,
        proposal=options.proposal,
        progress=progress,
    )


def _check_likelihood(options: ModelOptions, likelihood: nn.Module, train: Tensor) -> None:
    network: Any = likelihood.network  # one of this library's networks, which have an in_shape
    # Without validation: data outside the support may have made the output biases NaN.
    with torch.no_grad(), pyro.validation_enabled(False):
        support = likelihood(train.new_zeros(1, *network.in_shape)).support
    if not all(support.check(part).all() for part in in_parts(train)):
        raise ValueError(
            f"likelihood {options.likelihood!r} cannot have generated the data, whose values range from "
            f"{train.min():g} to {train.max():g}: its support is {support}. Choose another model.likelihood, "
            "or change data.binarize or data.dequantize."
        )


def _check_scorable(vae: AnyVAE, train: Tensor) -> None:
    refusal = check_pair(vae, train[:2]).refusal
    if refusal is not None:
        raise ValueError(refusal)
