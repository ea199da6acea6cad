"""Sampling, encoding, decoding and reconstructing with a fitted pair."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, overload

import pyro
import torch
from torch import Tensor

from inference.numerics import seeded
from inference.predictive.conditioning import codes, draw, drawn_data, predict_observed
from inference.predictive.enumeration import draw_enumerated
from inference.predictive.rows import check_draws, is_number, read_data, read_rows, warn_of_shifted
from pyro_lvm.arrays import as_tensor
from pyro_lvm.contract import read_structure
from pyro_lvm.dtypes import Suit
from pyro_lvm.modules import eval_mode
from pyro_lvm.pair import programs
from pyro_lvm.reading import read_batch
from pyro_lvm.rows.lazy import plain
from pyro_lvm.scopes import isolated
from pyro_lvm.sites import sites_of
from pyro_lvm.structure import Structure, template_of

Values = Tensor | dict[str, Tensor]


def sample_prior(pair: object, *data: Any, held: Mapping[str, Any] | None = None, seed: int | None = None, means: bool = False) -> Values:
    r"""Draw from the model once for each row of a batch, :math:`z \sim p(z),\; x \sim p(x \mid z)`.

    Args:
        pair: Any pair.
        data: A batch as for training, or data in any other form that :func:`~inference.scoring.importance.evaluate` takes; the observations
            set the number and shape of the draws, and their values are ignored. Other arguments, such as conditions, count. Or a number of
            draws, if the pair has been fitted, scored or checked before and its draws depend on the values of no argument.
        held: Values by site name, ``[B, *Z]``, to hold fixed instead of drawing, such as the upper levels of a hierarchy or an observed
            label. They affect what the model samples after them, and not what it samples before.
        seed: Seed of the draws; by default, torch's generator is used in its current state.
        means: Whether to return the mean of p(x|z) instead of a draw. If the model observes several sites, each mean is given the draws
            of those before it, and sites without a mean in closed form, such as labels, are left out if others have one.

    Returns:
        Observations ``[B, *X]``; a dict by site name if several observed sites are not held. Held ones are not among them, unless all are
        held.

    Raises:
        ValueError: If a site in ``held`` is neither a latent nor observed, or its value has another shape than the site; if only a number
            is given and the pair was never run, or its draws depend on the values of an argument.
        NotImplementedError: If ``means`` is set and no observed site has a mean in closed form.

    Warns:
        UserWarning: If the model observes an argument and also reads it directly, so that draws are given the values passed.
    """
    held, data = _given(pair, held or {}), read_data(pair, data)
    with _scope(pair, seed):
        rows, structure = read_rows(pair, data)
        names = (*structure.latents, *structure.enumerated, *structure.observed)
        if not set(held) <= set(names):
            raise ValueError(f"held must contain only sites of the model, {names}; got {tuple(held)}. Pass a dict by site name.")
        drawn = draw(pair, rows, structure, held, means=means)
        check_draws(pair, data, rows, drawn)
        warn_of_shifted(structure)
        return _one_or_all(drawn_data(drawn, structure, means=means), drawn.replaced or structure.observed)


def has_means(pair: object, *data: Any) -> bool:
    """Return whether observations have a mean in closed form; a categorical distribution has none.

    Args:
        pair: Any pair.
        data: Observations ``[B, *X]``, then any other arguments of the pair.
    """
    try:
        sample_prior(pair, *data, seed=0, means=True)
    except NotImplementedError:
        return False
    return True


def encode(pair: object, *data: Any, seed: int | None = None, means: bool = False, enumerated: bool = False) -> Values:
    r"""Draw one code for each datum, :math:`z \sim q(z \mid x)`, or return the mean of q.

    Args:
        pair: Any pair.
        data: Observations ``[B, *X]``, then any other arguments of the pair; or data in any other form that
            :func:`~inference.scoring.importance.evaluate` takes.
        seed: Seed of the draws; by default, torch's generator is used in its current state.
        means: Whether to return the mean of each latent, given the means of the latents before it.
        enumerated: Whether to return the summed-out latents as well, drawn from their exact posterior :math:`p(c \mid x, z)` given the
            codes; with ``means``, their jointly most probable values. Masked data count as missing; a mask on a latent itself is ignored.

    Returns:
        Codes ``[B, *Z]``; a dict by site name if there are several latents or ``enumerated`` is set.

    Raises:
        NotImplementedError: If ``means`` is set and a latent has no mean in closed form, such as that of a flow.
    """
    batch = tuple(map(plain, read_batch(pair, data)))
    with _scope(pair, seed):
        structure = read_structure(pair, *batch)
        drawn = codes(pair, batch, structure.latents, means=means)
        if enumerated:
            return drawn | draw_enumerated(programs(pair)[0], batch, drawn, structure, most_probable=means)
    return _one_or_all(drawn, structure.latents)


def sample_latents(pair: object, *data: Any, seed: int | None = None) -> Values:
    r"""Draw the latents from the prior once for each row of a batch, :math:`z \sim p(z)`.

    Args:
        pair: Any pair.
        data: Data, or a number of draws, as for :func:`sample_prior`.
        seed: Seed of the draws; by default, torch's generator is used in its current state.

    Returns:
        Latents ``[B, *Z]``; a dict by site name if there are several. Those that are summed out are left out.

    Raises:
        ValueError: If only a number is given, as for :func:`sample_prior`.
    """
    data = read_data(pair, data)
    with _scope(pair, seed):
        rows, structure = read_rows(pair, data)
        drawn = draw(pair, rows, structure, {})
        if is_number(data):
            check_draws(pair, data, rows, drawn)
    return _one_or_all({name: sites_of(drawn.trace)[name]["value"] for name in structure.latents}, structure.latents)


def decode(pair: object, latents: Values, *data: Any, seed: int | None = None, draws: bool = False) -> Values:
    r"""Return the mean of p(x|z) at given codes, or draw from it.

    Args:
        pair: Any pair.
        latents: Codes ``[B, *Z]``, or a dict by site name if there are several latents. The dict may also hold latents that are summed out
            and observed sites, such as a label; those that it does not hold are drawn from the model, :math:`c \sim p(c \mid z)`.
        data: Data with the same number of rows, or that number, as for :func:`sample_prior`.
        seed: Seed of the draws.
        draws: Whether to return a draw of x instead of the mean.

    Returns:
        Observations ``[B, *X]``, as for :func:`sample_prior`.

    Raises:
        ValueError: If a latent that the guide samples is missing, or a value is of no site of the model or of another shape than its site;
            if only a number is given, as for :func:`sample_prior`.
        NotImplementedError: If means are wanted and no observed site has a mean in closed form.
    """
    data = read_data(pair, data)
    with _scope(pair, seed):
        rows, structure = read_rows(pair, data)
        values = _given(pair, _by_site(latents, structure))
        drawn = draw(pair, rows, structure, values, means=not draws)
        check_draws(pair, data, rows, drawn)
        warn_of_shifted(structure)
        return _one_or_all(drawn_data(drawn, structure, means=not draws), drawn.replaced or structure.observed)


def reconstruct(pair: object, *data: Any, seed: int | None = None, draws: bool = False) -> Values:
    r"""Encode each datum to one code, :math:`z \sim q(z \mid x)`, and decode it to the mean of p(x|z) or to a draw from it.

    Latents that are summed out are drawn from their exact posterior, :math:`c \sim p(c \mid x, z)`. Every observed site keeps its observed
    value for what comes after it: a label, or the earlier elements of a sequence.

    .. math:: \hat x_i = \mathrm{E}[x_i \mid x_{<i}, z, c]

    Args:
        pair: Any pair.
        data: Observations ``[B, *X]``, then any other arguments of the pair; or data in any other form that
            :func:`~inference.scoring.importance.evaluate` takes.
        seed: Seed of the draws.
        draws: Whether to return a draw of each observed site instead of its mean.

    Returns:
        Observations ``[B, *X]``; a dict by site name if the model observes several sites. Of means, those of sites that have none in closed
        form, such as labels, are left out.

    Raises:
        NotImplementedError: If means are wanted and no observed site has a mean in closed form.
    """
    batch = tuple(map(plain, read_batch(pair, data)))
    with _scope(pair, seed):
        structure = read_structure(pair, *batch)
        warn_of_shifted(structure)
        values = codes(pair, batch, structure.latents, means=False)
        values |= draw_enumerated(programs(pair)[0], batch, values, structure)
        return _one_or_all(predict_observed(pair, batch, structure, values, means=not draws), structure.observed)


@overload
def in_blocks(function: Callable[..., Tensor], *batch: Tensor, seed: int, size: int = 1000) -> Tensor: ...


@overload
def in_blocks(function: Callable[..., Values], *batch: Tensor, seed: int, size: int = 1000) -> Values: ...


def in_blocks(function: Callable[..., Any], *batch: Tensor, seed: int, size: int = 1000) -> Values:
    """Apply a function to a batch that is too large to be processed at once, block by block.

    Args:
        function: Maps the tensors of a batch to values ``[B, *X]``; takes its noise from torch's generator.
        batch: Tensors with the same number of rows.
        seed: Seed of the noise of all blocks.
        size: Rows of a block.
    """
    with seeded(seed):
        blocks = [function(*rows) for rows in zip(*(x.split(size) for x in batch), strict=True)]
    if isinstance(blocks[0], dict):
        return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
    return torch.cat(blocks)


def of_data(pair: object, values: Values) -> Tensor:
    """Return the values of the site that observes the first argument of a pair: the data, as opposed to labels.

    Args:
        pair: A pair that has been run.
        values: Values of the sites that it observes.

    Raises:
        TypeError: If there are several sites, and none of them does.
    """
    if not isinstance(values, dict):
        return values
    template = template_of(pair)
    places = {} if template is None else dict(zip(template.structure.observed_arguments, template.structure.observed, strict=True))
    if places.get(0) not in values:
        raise TypeError(
            f"the pair must observe its first argument at one site to be judged by its samples; got {sorted(values)}. Use sample_prior and "
            "pick one."
        )
    return values[places[0]]


def _given(pair: object, values: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read values of latents by site, in the dtype of the pair."""
    suit = Suit(pair)
    return {name: suit.floats(as_tensor(value, f"latent '{name}'")) for name, value in values.items()}


@contextmanager
def _scope(pair: object, seed: int | None) -> Iterator[None]:
    with isolated(pair), torch.no_grad(), eval_mode(pair), pyro.validation_enabled(False), seeded(seed):
        yield


def _by_site(latents: Values, structure: Structure) -> dict[str, Tensor]:
    """Values by site, after checking that no latent is missing and all are sites of the model."""
    names = structure.latents or structure.enumerated
    values = dict(latents) if isinstance(latents, Mapping) else dict.fromkeys(names, latents)
    is_clear = isinstance(latents, Mapping) or len(names) == 1
    if not (is_clear and set(structure.latents) <= set(values) <= {*structure.latents, *structure.enumerated, *structure.observed}):
        got = tuple(values) if isinstance(latents, Mapping) else type(latents).__name__
        raise ValueError(f"latents must hold the sites {names}; got {got}. Pass a dict by site name.")
    return values


def _one_or_all(values: dict[str, Tensor], sites: Collection[str]) -> Values:
    """The values of the only one of the sites, or all values by site."""
    return next(iter(values.values())) if len(sites) == 1 else values
