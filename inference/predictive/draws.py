"""What one does with a fitted pair: sample from the prior, encode, decode, reconstruct."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyro
from pyro import poutine
from pyro.distributions import Distribution
from pyro.poutine.messenger import Messenger
import torch
from torch import Tensor

from inference.densities.layout import SubstituteMessenger
from inference.numerics import seeded
from pyro_lvm.contract import read_structure
from pyro_lvm.modules import eval_mode
from pyro_lvm.pair import param_scope, programs
from pyro_lvm.sites import density_sites

Values = Tensor | dict[str, Tensor]


class _MeanMessenger(Messenger):
    """Gives every sample site that is not fixed yet its mean instead of a draw."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: dict) -> None:
        if msg["name"] not in self.names or msg["done"]:
            return
        msg["value"] = _mean(msg["name"], msg["fn"])
        msg["done"] = True


def _mean(name: str, fn: Distribution) -> Tensor:
    try:
        mean = fn.mean
    except NotImplementedError:
        mean = None
    if mean is None or mean.isnan().all():  # torch's way to say that categories have no mean
        raise NotImplementedError(f"site '{name}' has a {type(fn).__name__}, which has no mean in closed form. Use draws instead.")
    return mean


def sample_prior(
    pair: object, *batch: Tensor, held: dict[str, Tensor] | None = None, seed: int | None = None, means: bool = False
) -> Values:
    r"""One draw from the model for each row of a batch, :math:`z \sim p(z),\; x \sim p(x \mid z)`.

    Args:
        pair: Any pair.
        batch: A batch as for training; its observations tell how many draws and of which shape, and are not looked at.
        held: Latents by site name, ``[B, *Z]``, that are not drawn: of a hierarchy the upper levels, to see what the others add.
        seed: Seed of the draws; by default torch's generator as it stands.
        means: Whether x is the mean of p(x|z) instead of a draw.

    Returns:
        Observations ``[B, *X]``; a dict by site name if the model observes several sites.

    Raises:
        ValueError: If a site that is held is no latent.
    """
    held = held or {}
    with _scope(pair, seed):
        structure = read_structure(pair, *batch)
        if not set(held) <= set(structure.latents):
            raise ValueError(f"held must hold some of the sites {structure.latents}; got {tuple(held)}. Pass a dict by site name.")
        return _observations(pair, batch, structure.observed, held, means)


def encode(pair: object, *batch: Tensor, seed: int | None = None, means: bool = False) -> Values:
    r"""One code for each datum, :math:`z \sim q(z \mid x)`, or the mean of q.

    Args:
        pair: Any pair.
        batch: ``[B, *X]`` first, then whatever else the pair takes.
        seed: Seed of the draws; by default torch's generator as it stands.
        means: Whether every latent is the mean of its distribution, given the means before it.

    Returns:
        Codes ``[B, *Z]``; a dict by site name if there are several latents.

    Raises:
        NotImplementedError: If means are wanted of a distribution without one in closed form, such as a flow.
    """
    with _scope(pair, seed):
        structure = read_structure(pair, *batch)
        return _unwrap(_codes(pair, batch, structure.latents, means))


def sample_latents(pair: object, *batch: Tensor, seed: int | None = None) -> Values:
    r"""One draw of the latents from the prior for each row of a batch, :math:`z \sim p(z)`.

    Args:
        pair: Any pair.
        batch: A batch as for :func:`sample_prior`.
        seed: Seed of the draws; by default torch's generator as it stands.

    Returns:
        Latents ``[B, *Z]``; a dict by site name if there are several.
    """
    with _scope(pair, seed):
        structure = read_structure(pair, *batch)
        trace = poutine.trace(poutine.uncondition(programs(pair)[0])).get_trace(*batch)
    return _unwrap({name: trace.nodes[name]["value"] for name in structure.latents})


def decode(pair: object, latents: Values, *batch: Tensor, seed: int | None = None, draws: bool = False) -> Values:
    """The mean of p(x|z) at given codes, or draws from it.

    Args:
        pair: Any pair.
        latents: Codes ``[B, *Z]``, or a dict by site name if there are several latents.
        batch: A batch of as many rows, as for :func:`sample_prior`.
        seed: Seed of the draws.
        draws: Whether to draw x instead of giving the mean.

    Returns:
        Observations ``[B, *X]``; a dict by site name if the model observes several sites.

    Raises:
        ValueError: If a latent is missing.
    """
    with _scope(pair, seed):
        structure = read_structure(pair, *batch)
        values = latents if isinstance(latents, dict) else dict.fromkeys(structure.latents[:1], latents)
        if set(values) != set(structure.latents):
            raise ValueError(f"latents must hold the sites {structure.latents}; got {tuple(values)}. Pass a dict by site name.")
        return _observations(pair, batch, structure.observed, values, not draws)


def reconstruct(pair: object, *batch: Tensor, seed: int | None = None, draws: bool = False) -> Values:
    r"""The mean of p(x|z), or a draw from it, at one code :math:`z \sim q(z \mid x)` for each datum: :func:`encode`, then :func:`decode`.

    Args:
        pair: Any pair.
        batch: ``[B, *X]`` first, then whatever else the pair takes.
        seed: Seed of the draws.
        draws: Whether to draw x instead of giving the mean.

    Returns:
        Observations ``[B, *X]``; a dict by site name if the model observes several sites.
    """
    with _scope(pair, seed):
        structure = read_structure(pair, *batch)
        return _observations(pair, batch, structure.observed, _codes(pair, batch, structure.latents, False), not draws)


def in_blocks(function: Callable[..., Values], *batch: Tensor, seed: int, size: int = 1000) -> Values:
    """What a function gives for a batch that is too large to be handled at once, some rows at a time.

    Args:
        function: Maps the tensors of a batch to values ``[B, *X]``, and takes noise from torch's generator.
        batch: Tensors of as many rows each.
        seed: Seed of the whole.
        size: Rows at a time.
    """
    with seeded(seed):
        blocks = [function(*rows) for rows in zip(*(x.split(size) for x in batch), strict=True)]
    if isinstance(blocks[0], dict):
        return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
    return torch.cat(blocks)


@contextmanager
def _scope(pair: object, seed: int | None) -> Iterator[None]:
    with torch.no_grad(), param_scope(pair), eval_mode(pair), pyro.validation_enabled(False), seeded(seed):
        yield


def _codes(pair: object, batch: tuple[Tensor, ...], latents: tuple[str, ...], means: bool) -> dict[str, Tensor]:
    with _MeanMessenger(latents if means else ()):
        trace = poutine.trace(programs(pair)[1]).get_trace(*batch)
    return {name: trace.nodes[name]["value"] for name in latents}


def _observations(pair: object, batch: tuple[Tensor, ...], observed: tuple[str, ...], latents: dict[str, Tensor], means: bool) -> Values:
    with _MeanMessenger(observed if means else ()), SubstituteMessenger(latents):
        trace = poutine.trace(poutine.uncondition(programs(pair)[0])).get_trace(*batch)
    return _unwrap({site["name"]: site["value"] for site in density_sites(trace) if site["name"] in observed})


def _unwrap(values: dict[str, Tensor]) -> Values:
    return next(iter(values.values())) if len(values) == 1 else values
