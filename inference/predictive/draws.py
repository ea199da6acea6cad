"""Sampling, encoding, decoding and reconstructing with a fitted pair."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, overload

import pyro
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.poutine.messenger import Messenger
import torch
from torch import Tensor

from inference.densities.layout import SubstituteMessenger
from inference.numerics import seeded
from pyro_lvm.arrays import as_tensor
from pyro_lvm.contract import read_structure
from pyro_lvm.dtypes import Suit
from pyro_lvm.modules import eval_mode
from pyro_lvm.pair import Batch, param_scope, programs
from pyro_lvm.reading import read_batch
from pyro_lvm.sites import Site, density_sites, sites_of

Values = Tensor | dict[str, Tensor]


class _MeanMessenger(Messenger):
    """Replaces the draw at each of the named sites by the mean, unless the site already has a value."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Site) -> None:
        if msg["name"] not in self.names or msg["done"]:
            return
        msg["value"] = _mean(msg["name"], msg["fn"])
        msg["done"] = True


def _mean(name: str, fn: TorchDistribution) -> Tensor:
    try:
        mean = fn.mean
    except NotImplementedError:
        mean = None
    if mean is None or mean.isnan().all():  # torch returns NaN for categories, which have no mean
        raise NotImplementedError(f"site '{name}' has a {type(fn).__name__}, which has no mean in closed form. Use draws instead.")
    return mean


def sample_prior(pair: object, *data: Any, held: dict[str, Tensor] | None = None, seed: int | None = None, means: bool = False) -> Values:
    r"""Draw from the model once for each row of a batch, :math:`z \sim p(z),\; x \sim p(x \mid z)`.

    Args:
        pair: Any pair.
        data: A batch as for training, or data in any other form that :func:`~inference.scoring.importance.evaluate` takes; the observations
            set the number and shape of the draws, and their values are ignored.
        held: Latents by site name, ``[B, *Z]``, to hold fixed instead of drawing, such as the upper levels of a hierarchy.
        seed: Seed of the draws; by default, torch's generator is used in its current state.
        means: Whether to return the mean of p(x|z) instead of a draw.

    Returns:
        Observations ``[B, *X]``; a dict by site name if the model observes several sites.

    Raises:
        ValueError: If a site in ``held`` is not a latent.
    """
    batch, held = read_batch(pair, data), _given(pair, held or {})
    with _scope(pair, seed):
        structure = read_structure(pair, *batch)
        if not set(held) <= set(structure.latents):
            raise ValueError(f"held must contain only the latents {structure.latents}; got {tuple(held)}. Pass a dict by site name.")
        return _observations(pair, batch, structure.observed, held, means)


def encode(pair: object, *data: Any, seed: int | None = None, means: bool = False) -> Values:
    r"""Draw one code for each datum, :math:`z \sim q(z \mid x)`, or return the mean of q.

    Args:
        pair: Any pair.
        data: Observations ``[B, *X]``, then any other arguments of the pair; or data in any other form that
            :func:`~inference.scoring.importance.evaluate` takes.
        seed: Seed of the draws; by default, torch's generator is used in its current state.
        means: Whether to return the mean of each latent, given the means of the latents before it.

    Returns:
        Codes ``[B, *Z]``; a dict by site name if there are several latents.

    Raises:
        NotImplementedError: If ``means`` is set and a distribution has no mean in closed form, such as a flow.
    """
    batch = read_batch(pair, data)
    with _scope(pair, seed):
        structure = read_structure(pair, *batch)
        return _unwrap(_codes(pair, batch, structure.latents, means))


def sample_latents(pair: object, *data: Any, seed: int | None = None) -> Values:
    r"""Draw the latents from the prior once for each row of a batch, :math:`z \sim p(z)`.

    Args:
        pair: Any pair.
        data: Data as for :func:`sample_prior`.
        seed: Seed of the draws; by default, torch's generator is used in its current state.

    Returns:
        Latents ``[B, *Z]``; a dict by site name if there are several.
    """
    batch = read_batch(pair, data)
    with _scope(pair, seed):
        structure = read_structure(pair, *batch)
        trace = poutine.trace(poutine.uncondition(programs(pair)[0])).get_trace(*batch)
    return _unwrap({name: sites_of(trace)[name]["value"] for name in structure.latents})


def decode(pair: object, latents: Values, *data: Any, seed: int | None = None, draws: bool = False) -> Values:
    """Return the mean of p(x|z) at given codes, or draw from it.

    Args:
        pair: Any pair.
        latents: Codes ``[B, *Z]``, or a dict by site name if there are several latents.
        data: Data with the same number of rows, as for :func:`sample_prior`.
        seed: Seed of the draws.
        draws: Whether to return a draw of x instead of the mean.

    Returns:
        Observations ``[B, *X]``; a dict by site name if the model observes several sites.

    Raises:
        ValueError: If a latent is missing.
    """
    batch = read_batch(pair, data)
    with _scope(pair, seed):
        structure = read_structure(pair, *batch)
        values = _given(pair, latents if isinstance(latents, dict) else dict.fromkeys(structure.latents[:1], latents))
        if set(values) != set(structure.latents):
            raise ValueError(f"latents must hold the sites {structure.latents}; got {tuple(values)}. Pass a dict by site name.")
        return _observations(pair, batch, structure.observed, values, not draws)


def reconstruct(pair: object, *data: Any, seed: int | None = None, draws: bool = False) -> Values:
    r"""Encode each datum to one code, :math:`z \sim q(z \mid x)`, and decode it to the mean of p(x|z) or to a draw from it.

    Args:
        pair: Any pair.
        data: Observations ``[B, *X]``, then any other arguments of the pair; or data in any other form that
            :func:`~inference.scoring.importance.evaluate` takes.
        seed: Seed of the draws.
        draws: Whether to return a draw of x instead of the mean.

    Returns:
        Observations ``[B, *X]``; a dict by site name if the model observes several sites.
    """
    batch = read_batch(pair, data)
    with _scope(pair, seed):
        structure = read_structure(pair, *batch)
        return _observations(pair, batch, structure.observed, _codes(pair, batch, structure.latents, False), not draws)


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


def of_one_site(values: Values) -> Tensor:
    """Check that values are those of a single site, as for all models of the recipes, and return them.

    Raises:
        TypeError: If there are several sites.
    """
    if isinstance(values, dict):
        raise TypeError(f"the pair must observe one site to be judged by its samples; got {sorted(values)}. Use sample_prior and pick one.")
    return values


def _given(pair: object, values: dict[str, Any]) -> dict[str, Tensor]:
    """Read values of latents by site, in the dtype of the pair."""
    suit = Suit(pair)
    return {name: suit.floats(as_tensor(value, f"latent '{name}'")) for name, value in values.items()}


@contextmanager
def _scope(pair: object, seed: int | None) -> Iterator[None]:
    with torch.no_grad(), param_scope(pair), eval_mode(pair), pyro.validation_enabled(False), seeded(seed):
        yield


def _codes(pair: object, batch: Batch, latents: tuple[str, ...], means: bool) -> dict[str, Tensor]:
    with _MeanMessenger(latents if means else ()):
        trace = poutine.trace(programs(pair)[1]).get_trace(*batch)
    return {name: sites_of(trace)[name]["value"] for name in latents}


def _observations(pair: object, batch: Batch, observed: tuple[str, ...], latents: dict[str, Tensor], means: bool) -> Values:
    with _MeanMessenger(observed if means else ()), SubstituteMessenger(latents):
        trace = poutine.trace(poutine.uncondition(programs(pair)[0])).get_trace(*batch)
    return _unwrap({site["name"]: site["value"] for site in density_sites(trace) if site["name"] in observed})


def _unwrap(values: dict[str, Tensor]) -> Values:
    return next(iter(values.values())) if len(values) == 1 else values
