"""Data, models, fits and scores built from options."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from pandas import DataFrame
import pyro
from pyro import poutine
import torch
from torch import Tensor

from inference.checkpoint import move_
from inference.data.alike import remember_reading
from inference.data.columns import Column
from inference.data.fingerprint import num_fitted
from inference.data.load import Data, load_data
from inference.data.media.sequences import MASK
from inference.data.treatments import drawn_once
from inference.numerics import check_device, seeded
from inference.recipes.combinations import check_given, check_parts, options_of
from inference.recipes.options import DataOptions, EvaluateOptions, FitOptions, ModelOptions, Recipe, model_options, without_effect
from inference.recipes.own_pairs import make_own, own_files
from inference.recipes.parts.codes import start_codebook
from inference.recipes.parts.columns import check_likelihood, likelihood_of
from inference.recipes.parts.maker import Parts
from inference.recipes.registries import CONDITIONS, INITS, LIKELIHOODS, METHODS, MODEL_PARTS, OBJECTIVES, SCHEDULES, STRUCTURES
from inference.recipes.user_code import UserFile
from inference.scoring.annealed.bounds import BidirectionalBounds, bidirectional
from inference.scoring.evaluation import Evaluation
from inference.svi.fitting import fit
from inference.svi.loop import FitResult
from inference.svi.rows import run_first
from pyro_lvm.contract import check_pair
from pyro_lvm.pair import Batch
from pyro_lvm.rows.lazy import in_parts
from pyro_lvm.scopes import isolated
from pyro_lvm.sites import innermost_support, is_data, sample_sites
from pyro_lvm.structure import template_of


def load(options: DataOptions) -> Data:
    """The data that the options name; see :func:`inference.data.load.load_data`."""
    return load_data(**asdict(options))


def build_pair(recipe: Recipe, data: Data, *, folder: Path | None = None) -> tuple[Any, list[UserFile]]:
    """Build the pair of a recipe: a model made of parts, or a pair of the user's own.

    Args:
        recipe: The recipe.
        data: Its data.
        folder: Where the user's files are, if they are not where the recipe says.

    Returns:
        The pair, and the user's files as they were run.

    Raises:
        ValueError: If the recipe is invalid, or the pair has no likelihood for each datum.
    """
    plugins = own_files(None, recipe.plugin, folder)
    if recipe.pair is None:
        return _of_parts(recipe.model, data), plugins
    pair, file = make_own(recipe.pair, recipe.code, data, seed=recipe.model.seed, folder=folder)
    remember_reading(pair, data)
    run_first(pair, data.batch("train")).scorable()
    return pair, [file, *plugins]


def make_pair(data: Data, **options: Any) -> Any:
    """Make a model of parts for a data set, initialized from its training data, as ``pyro-lvm train`` does.

    Args:
        data: The data set; of a table, the likelihood follows from the kinds of its columns.
        options: Options of the model by name, those of ``pyro-lvm train --help`` without ``--model.``, such as ``prior="vamp"``,
            ``latent_dim=4`` and ``hidden=(64,)``.

    Returns:
        The pair, such as a :class:`~pyro_lvm.models.vae.VAE`, not yet fitted.

    Raises:
        ValueError: If there is no option or part of a name, parts do not go together, an option has no effect on any of them, or the model
            does not suit the data.

    Example:
        >>> from inference import load_data, make_pair, sample_prior
        >>> data = load_data("digits")
        >>> sample_prior(make_pair(data, prior="mixture", num_components=5, latent_dim=2), data.test[:3]).shape
        torch.Size([3, 64])
    """
    model = options_of("options", model_options(), options, MODEL_PARTS)
    for option, parts in without_effect(model, MODEL_PARTS).items():
        raise ValueError(f"{option} has no effect here: it is an option of {' and '.join(parts)}. Leave it out.")
    return _of_parts(model, data)


def _of_parts(options: ModelOptions, data: Data) -> Any:
    _check_known(options.structure, data)
    train, *given = batch_seen(data, seed=options.seed)
    num_categories = [data.num_categories.get(name) for name in data.given]
    pair = build_model(options, train, given, num_categories, data.kinds, list(data.given))
    remember_reading(pair, data)
    return pair


def build_model(
    options: ModelOptions,
    train: Tensor,
    given: Sequence[Tensor] = (),
    num_categories: Sequence[int | None] = (),
    columns: tuple[Column, ...] | None = None,
    names: Sequence[str] | None = None,
) -> Any:
    """Build a model made of parts, with output biases, noise scales and pseudo-inputs initialized from the data.

    Args:
        options: Names and sizes of the parts.
        train: Training data as the model sees them, ``[N, *X]``: binarized or dequantized if they are to be so.
        given: What else the model is called with, such as labels ``[N]`` or covariates ``[N, *C]``.
        num_categories: Number of categories of each, None for covariates.
        columns: What the numbers of each column are, or None if the data are no table.
        names: The name of each of ``given``, by which an option such as ``offset`` means it; by default 0, 1, ....

    Returns:
        The model, not yet fitted.

    Raises:
        ValueError: If parts do not go together, a size is wrong, a part does not fit the data's shape, or the data lie outside the
            likelihood's support.
    """
    check_parts(options)
    check_given(options, len(given))
    if columns is not None and not LIKELIHOODS[options.likelihood].facts["takes_columns"]:
        check_likelihood(options.likelihood, train, columns)
    values, names = asdict(options), tuple(map(str, range(len(given))) if names is None else names)
    parts = Parts(values, train, tuple(given), tuple(num_categories), columns, names)
    with seeded(options.seed):
        model = STRUCTURES.build(options.structure, values, parts=parts)
        INITS.build(options.init, values, pair=model)
        start_codebook(model, train, seed=options.seed)
    few = tuple(x[:2] for x in (train, *given))
    _check_support(likelihood_of(options.likelihood, columns), model, train, few)
    check_pair(model, *few).scorable()
    return model


def batch_seen(data: Data, *, seed: int = 0) -> Batch:
    """What the model is called with for all training data: these as it sees them, then what is given."""
    return (seen_by_model(data, seed=seed), *data.batch("train")[1:])


def seen_by_model(data: Data, *, seed: int = 0) -> Tensor:
    """The training data as the model sees them, after one draw of their transform's noise, ``[N, *X]``."""
    return drawn_once(data.train, data.transform, seed)


def batch_given(data: Data, batch: Batch, given: Sequence[float]) -> Batch:
    """A batch in which all rows are given the same values, one for each condition.

    Raises:
        ValueError: If there are more or fewer values than conditions, or one is no category or of several covariates.
    """
    names = list(data.given)
    if len(given) != len(names):
        raise ValueError(f"--given must have one value for each condition ({', '.join(names) or 'none'}); got {len(given)}.")
    for name, value in zip(names, given, strict=True):
        count = data.num_categories.get(name)
        if count is not None and value not in range(count):
            raise ValueError(f"--given: {name} must be a category from 0 to {count - 1}; got {value:g}.")
    return (batch[0], *(torch.full_like(x, value) for x, value in zip(batch[1:], given, strict=True)))


def fit_pair(
    pair: object,
    data: Data,
    options: FitOptions,
    *,
    checkpoint: Path | None = None,
    resume: Path | None = None,
    on_epoch: Callable[[DataFrame], None] | None = None,
    device: str | None = None,
    progress: bool = True,
) -> FitResult:
    """Fit a pair with the given options; see :func:`inference.svi.fitting.fit`."""
    values = asdict(options)
    settings = {one.name: values[one.name] for one in fields(FitOptions) if one.name not in ("objective", "schedule")}
    if options.batch_size == FitOptions.batch_size:  # the default suits any number of rows
        settings["batch_size"] = min(options.batch_size, len(data.train))
    valid: Batch | None = data.batch("valid")
    template = template_of(pair)
    structure = run_first(pair, data.batch("train")) if template is None else template.structure
    if structure.row_parameters:  # as with an AutoNormal: no rows but these, and all of them in every step
        settings |= {"batch_size": None, "patience": None}
        valid = None
    return fit(
        pair,
        data.batch("train"),
        valid=valid,
        elbo=OBJECTIVES.build(options.objective, values, structure=structure),
        scheduler=SCHEDULES.build(options.schedule, values, epochs=options.epochs),
        transform=data.transform,
        checkpoint=checkpoint,
        resume=resume,
        on_epoch=on_epoch,
        device=device,
        progress=progress,
        **settings,
    )


def evaluate_pair(pair: object, data: Data, options: EvaluateOptions, *, device: str | None = None, progress: bool = False) -> Evaluation:
    """Score a split of the data; see :func:`inference.scoring.importance.evaluate`."""
    return evaluate_rows(pair, data.batch(options.split), options, device=device, progress=progress)


def evaluate_rows(pair: object, batch: Batch, options: EvaluateOptions, *, device: str | None = None, progress: bool = False) -> Evaluation:
    """Score the rows of a batch by the method that the options name; see :func:`inference.scoring.importance.evaluate`.

    Raises:
        ValueError: If an option has no effect on the method.
    """
    check_device(device)
    _ = options.counts  # which checks them
    move_(pair, device)
    score = METHODS.build(options.method, asdict(options), pair=pair, batch=tuple(x.to(device) for x in batch), progress=progress)
    return replace(score, num_fitted=num_fitted(pair, *batch))  # which methods of a user's own do not say


def bound_pair(
    pair: object, data: Data, options: EvaluateOptions, num_data: int, *, device: str | None = None, progress: bool = False
) -> BidirectionalBounds:
    """Bound log p(x) of simulated data; see :func:`inference.scoring.annealed.bounds.bidirectional`."""
    check_device(device)
    x, *given = data.batch(options.split)
    rows = torch.arange(num_data) % len(x)
    batch = tuple(each.to(device) for each in (x[:1].expand(num_data, *x.shape[1:]), *(each[rows] for each in given)))
    chains = options if options.method == "ais" else EvaluateOptions(method="ais")
    num_particles, num_steps = chains.counts
    move_(pair, device)
    return bidirectional(
        pair,
        *batch,
        num_particles=num_particles,
        num_steps=num_steps,
        seed=options.seed,
        proposal=options.proposal,
        progress=progress,
    )


def _check_known(structure: str, data: Data) -> None:
    """Refuse masks, and labels that are missing where they are given: only a model that has them as a latent can sum them out."""
    if MASK in data.given:
        raise ValueError(
            "a model made of parts has no masks, and would take the padding of sequences for data. Write a pair that takes (x, mask), such "
            "as docs/examples/deep_markov.py, and give it by pair."
        )
    for name in data.num_categories if STRUCTURES[structure].facts["takes"] == CONDITIONS else ():
        missing = sum(int((x < 0).sum()) for x in data.given[name].values())
        if missing:
            raise ValueError(
                f"structure {structure!r} needs all {name}; got {missing} that are missing. Leave data.labelled out, drop these rows, or "
                "take model.structure semi-supervised."
            )


def _check_support(name: str, model: Any, train: Tensor, few: Batch) -> None:
    # Without validation: data outside the support may have made the output biases NaN.
    with isolated(model), torch.random.fork_rng(), torch.no_grad(), pyro.validation_enabled(False):
        sites = sample_sites(poutine.trace(model.model).get_trace(*few))
    for site in [site for site in sites if is_data(site) and site["name"] == "x"]:
        support = innermost_support(site["fn"])
        if support is not None and not all(support.check(part).all() for part in in_parts(train)):
            raise ValueError(
                f"likelihood {name!r} cannot have generated the data, whose values range from "
                f"{train.min():g} to {train.max():g}: its support is {support}. Choose another model.likelihood, "
                "or change data.binarize or data.dequantize."
            )
