"""Runs of a pair's programs in which some sites are held, others drawn, and observed data kept or drawn anew."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from pyro import poutine
import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from pyro.poutine.broadcast_messenger import BroadcastMessenger
from pyro.poutine.messenger import Messenger
import torch
from torch import Tensor

from pyro_lvm.pair import Batch, programs
from pyro_lvm.sites import Site, density_sites, is_data, is_subsample, sites_of
from pyro_lvm.structure import Structure

Latents = Mapping[str, Tensor]


class HoldMessenger(Messenger):
    """Messenger that gives sites, latent or observed, the values of a dict.

    Raises:
        ValueError: If a value does not have the shape of its site.
    """

    def __init__(self, values: Latents) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Site) -> None:
        if msg["name"] not in self.values or is_subsample(msg):
            return
        value, expected = self.values[msg["name"]], tuple(msg["fn"].batch_shape + msg["fn"].event_shape)
        if tuple(value.shape) != expected:
            raise ValueError(
                f"the value of site '{msg['name']}' must have shape {expected}; got {tuple(value.shape)}. Pass one row for each datum."
            )
        msg["value"], msg["done"] = value, True


class SizeMessenger(Messenger):
    """Messenger that gives plates without a declared size at dim -1 the number of data, so that every datum has a draw of its own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def _pyro_sample(self, msg: Site) -> None:
        frames = msg["cond_indep_stack"]
        is_open = any(frame.dim == -1 and frame.size == -1 for frame in frames)
        if is_open and msg["fn"].batch_shape[-1:] in ((), (1,), (self.size,)):
            msg["cond_indep_stack"] = tuple(f._replace(size=self.size) if f.dim == -1 else f for f in frames)
            BroadcastMessenger._pyro_sample(msg)  # type: ignore[arg-type]  # Pyro's type of a site is a TypedDict


def run(program: Callable[..., object], batch: Batch, *handlers: Messenger) -> poutine.Trace:
    """Trace a program under handlers, the last of which sees each site first."""
    with ExitStack() as stack:
        for handler in (*handlers, SizeMessenger(len(batch[0]))):
            stack.enter_context(handler)
        return poutine.trace(program).get_trace(*batch)


class FreeMessenger(Messenger):
    """Messenger that draws data sites anew; factors, penalties and deterministic values are left to the program.

    Args:
        names: Data sites to draw.
        mean_at: A site at which the mean is put instead of a draw, if it has one, because nothing depends on its value.
    """

    def __init__(self, names: Iterable[str], mean_at: str | None = None) -> None:
        super().__init__()
        self.names, self.mean_at = frozenset(names), mean_at
        self.replaced: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Site) -> None:
        if msg["name"] not in self.names or not is_data(msg):
            return
        self.replaced[msg["name"]] = msg["value"]
        msg["value"] = mean_of(msg["fn"]) if msg["name"] == self.mean_at else None
        msg["is_observed"], msg["done"] = False, msg["value"] is not None


class MeanMessenger(Messenger):
    """Messenger that replaces the draw at each of the selected sites by the mean."""

    def __init__(self, where: Callable[[Site], bool]) -> None:
        super().__init__()
        self.where = where

    def _pyro_sample(self, msg: Site) -> None:
        if not is_subsample(msg) and not msg["is_observed"] and not msg["done"] and self.where(msg):
            msg["value"], msg["done"] = required_mean(msg["name"], msg["fn"]), True


def mean_of(fn: TorchDistribution) -> Tensor | None:
    """Return the mean of a distribution, or None if it has none in closed form."""
    try:
        mean = fn.mean
    except NotImplementedError:
        return None
    return None if mean.isnan().all() else mean  # torch returns NaN for categories, which have no mean


def required_mean(name: str, fn: TorchDistribution) -> Tensor:
    """Return the mean of a site's distribution.

    Raises:
        NotImplementedError: If it has none in closed form.
    """
    mean = mean_of(fn)
    if mean is None:
        raise NotImplementedError(f"site '{name}' has a {type(fn).__name__}, which has no mean in closed form. Use draws instead.")
    return mean


def unmasked(fn: Any) -> Any:
    """Return a distribution without the masks in it, which affect no draws."""
    if isinstance(fn, dist.MaskedDistribution):
        return unmasked(fn.base_dist)
    if isinstance(fn, torch.distributions.Independent):
        return dist.Independent(unmasked(fn.base_dist), fn.reinterpreted_batch_ndims)
    return unmasked(fn.base_dist).expand(fn.batch_shape) if isinstance(fn, dist.ExpandedDistribution) else fn


class Draws(NamedTuple):
    """A run of a model in which data are drawn anew.

    Attributes:
        trace: The trace of the run.
        replaced: The observed values that were replaced by draws, by site.
        size: Number of data.
    """

    trace: poutine.Trace
    replaced: dict[str, Tensor]
    size: int

    def data_sites(self) -> dict[str, Site]:
        """The sites at which data were drawn."""
        return {name: sites_of(self.trace)[name] for name in self.replaced}

    def first(self, size: int) -> dict[str, Tensor]:
        """The values of latents and data for the first data; what lies outside the data plate is left whole."""
        sites = [site for site in density_sites(self.trace) if not site["is_observed"] or is_data(site)]
        return {site["name"]: self._first(site, size) for site in sites}

    def _first(self, site: Site, size: int) -> Tensor:
        batch_shape, dim = site["fn"].batch_shape, -1 - len(site["fn"].event_shape)
        return site["value"].narrow(dim, 0, size) if batch_shape[-1:] == (self.size,) else site["value"]


def draw(pair: object, batch: Batch, structure: Structure, held: Latents, *, means: bool = False) -> Draws:
    """Run the model with the sites in ``held`` at given values and all others drawn.

    With ``means``, the last data site has its mean as value, because nothing that is wanted depends on a draw there.
    """
    free = [name for name in structure.observed if name not in held]
    messenger = FreeMessenger(free, free[-1] if means and free else None)
    return Draws(run(programs(pair)[0], batch, messenger, HoldMessenger(held)), messenger.replaced, len(batch[0]))


def drawn_data(draws: Draws, structure: Structure, *, means: bool) -> dict[str, Tensor]:
    """The data sites that were drawn, or all of them if all were held.

    With ``means``, the mean of each given the draws of those before it; those without a mean are left out if others have one.
    """
    if means and draws.replaced:
        return _means(draws.trace, draws.replaced)
    return {name: sites_of(draws.trace)[name]["value"] for name in draws.replaced or structure.observed}


def predict_observed(pair: object, batch: Batch, structure: Structure, values: Latents, *, means: bool) -> dict[str, Tensor]:
    """Run the model at latents ``values``, with its observations, and return the mean of each data site or a draw from it.

    Every data site keeps its observed value for what comes after it.
    """
    trace = run(programs(pair)[0], batch, HoldMessenger(values))
    if means:
        return _means(trace, structure.observed)
    sites = [sites_of(trace)[name] for name in structure.observed]
    return {site["name"]: site["fn"](*site["args"], **site["kwargs"]) for site in sites}


def _means(trace: poutine.Trace, names: Iterable[str]) -> dict[str, Tensor]:
    """The means of data sites by name, without those that have none, of which there may not be all."""
    functions = {name: sites_of(trace)[name]["fn"] for name in names}
    means = {name: mean for name, fn in functions.items() if (mean := mean_of(fn)) is not None}
    return means or {name: required_mean(name, fn) for name, fn in functions.items()}


def codes(pair: object, batch: Batch, latents: Iterable[str], *, means: bool) -> dict[str, Tensor]:
    """Run the guide, and return a draw of each latent, or its mean given the means of those before it.

    Raises:
        NotImplementedError: If a mean is wanted and a latent has none in closed form.
    """
    if not means:
        return _latents(run(programs(pair)[1], batch), latents)
    return _mean_codes(pair, batch, frozenset(latents))


def _mean_codes(pair: object, batch: Batch, latents: frozenset[str]) -> dict[str, Tensor]:
    trace = run(programs(pair)[1], batch, MeanMessenger(lambda site: site["name"] in latents or _is_auxiliary(site)))
    auxiliary = {site["name"]: site for site in density_sites(trace) if _is_auxiliary(site)}
    centers = _latents(trace, latents)
    if auxiliary:
        draws = {name: site["fn"](*site["args"], **site["kwargs"]) for name, site in auxiliary.items()}
        mirrored = {name: 2 * site["value"] - draws[name] for name, site in auxiliary.items()}
        _check_means(centers, *(_latents_at(pair, batch, latents, values) for values in (draws, mirrored)))
    return centers


def _latents_at(pair: object, batch: Batch, latents: frozenset[str], auxiliary: Latents) -> dict[str, Tensor]:
    handlers = MeanMessenger(lambda site: site["name"] in latents), HoldMessenger(auxiliary)
    return _latents(run(programs(pair)[1], batch, *handlers), latents)


def _check_means(centers: Latents, first: Latents, second: Latents) -> None:
    """Check that latents computed from auxiliary draws are symmetric about their values at the mean draws, hence have them as means."""
    for name, center in centers.items():
        tolerance = 1e-4 * (first[name] - center).abs().max() + 1e-5 * center.abs().max()
        if center.is_floating_point() and not bool(((first[name] + second[name]) / 2 - center).abs().max() <= tolerance):
            raise NotImplementedError(
                f"site '{name}' is a function of auxiliary draws that is not linear and has no mean in closed form. Use draws instead."
            )


def _is_auxiliary(site: Site) -> bool:
    return bool(site["infer"].get("is_auxiliary")) and not site["is_observed"]


def _latents(trace: poutine.Trace, names: Iterable[str]) -> dict[str, Tensor]:
    sites = sites_of(trace)
    return {name: sites[name]["value"] for name in names}
