"""Layouts of the draws for each datum in one run of a program, and the runs themselves."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import pyro
from pyro import poutine
from pyro.poutine.messenger import Messenger
import torch
from torch import Tensor

from pyro_lvm.pair import Batch
from pyro_lvm.sites import Site, is_subsample, masked_log_prob, sample_sites

Latents = dict[str, Tensor]
PARTICLE_DIM = -2


class SubstituteMessenger(Messenger):
    """Messenger that fixes latent sites to given values without marking them as observed."""

    def __init__(self, values: Latents) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Site) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"] = self.values[msg["name"]]
            msg["done"] = "_markov_scope" not in msg["infer"]  # Pyro's enumeration must see the sites under pyro.markov; a value is enough
            msg["infer"] = {key: value for key, value in msg["infer"].items() if key != "enumerate"}


class _GivenRowsMessenger(Messenger):
    """Messenger that makes a plate which declares more data than it is given take the given rows, in their order."""

    def _pyro_sample(self, msg: Site) -> None:
        if is_subsample(msg) and msg["value"] is None and msg["fn"].subsample_size is not None:
            msg["value"] = torch.arange(msg["fn"].subsample_size)
            msg["done"] = True


@dataclass(frozen=True)
class Layout:
    """Layout of K draws for each datum in one run of a program.

    Args:
        style: ``"broadcast"``: the batch stays ``[B, *X]`` under an outer plate of particles, so that latents are ``[K, B, ...]`` and the
            encoder sees each datum once. ``"tiled"``: every datum is repeated along the data plate, ``[K * B, *X]``. ``"looped"``: the
            program runs once for each particle, which is right for any program, and slow.
        needs_all_rows: Whether the program runs only on all rows of the data at once.
        enumerates: Whether the model marks latents for enumeration.
        num_states: Number of joint values of the enumerated latents in one run of the model.
    """

    style: Literal["broadcast", "tiled", "looped"]
    needs_all_rows: bool = False
    enumerates: bool = True
    num_states: int = 1

    @contextmanager
    def particles(self, num_particles: int) -> Iterator[None]:
        if self.style == "broadcast":
            with pyro.plate("_particles", num_particles, dim=PARTICLE_DIM):
                yield
        else:
            yield

    def batch(self, batch: Batch, num_particles: int) -> tuple[Tensor, ...]:
        if self.style == "tiled":
            return tuple(x.repeat(num_particles, *[1] * (x.dim() - 1)) for x in batch)  # [K * B, *X]
        return batch

    def split(self, value: Tensor, num_particles: int, size: int) -> Tensor:
        """Reshape from the layout of a run to ``[K, B, ...]``."""
        return value.reshape(num_particles, size, *value.shape[1:]) if self.style == "tiled" else value

    def join(self, value: Tensor) -> Tensor:
        """Reshape from ``[K, B, ...]`` to the layout of a run; the values of one run are contiguous, as a program may rely on it."""
        return value.flatten(0, 1).contiguous() if self.style == "tiled" else value.contiguous()


BROADCAST, TILED, LOOPED = Layout("broadcast"), Layout("tiled"), Layout("looped")


def run_guide(
    guide: Callable[..., object], batch: Batch, num_particles: int, layout: Layout, latents: Latents | None = None
) -> poutine.Trace:
    """Trace the guide with ``num_particles`` draws for each datum, or at given latents ``[K, B, ...]``."""
    return _run(guide, batch, num_particles, layout, latents or {}, nullcontext)


def run_model(model: Callable[..., object], batch: Batch, latents: Latents, num_particles: int, layout: Layout) -> poutine.Trace:
    """Trace the model at given latents ``[K, B, ...]``, and enumerate the discrete sites that are marked for it.

    Raises:
        ValueError: If a site depends on an enumerated one that ``pyro.markov`` no longer remembers.
    """
    try:
        return _run_model(model, batch, latents, num_particles, layout)
    except AssertionError as error:  # Pyro's answer, without a word
        raise ValueError(
            "the model cannot be enumerated: a site depends on an enumerated latent beyond the reach of pyro.markov. Give it more history."
        ) from error


def _run_model(model: Callable[..., object], batch: Batch, latents: Latents, num_particles: int, layout: Layout) -> poutine.Trace:
    return _run(model, batch, num_particles, layout, latents, _enumerated if layout.enumerates else nullcontext)


def _enumerated() -> AbstractContextManager:
    return poutine.enum(first_available_dim=PARTICLE_DIM - 1)


def _run(
    program: Callable[..., object],
    batch: Batch,
    num_particles: int,
    layout: Layout,
    latents: Latents,
    context: Callable[[], AbstractContextManager],
) -> poutine.Trace:
    def traced(num_particles: int, latents: Latents) -> poutine.Trace:
        values = {name: layout.join(value) for name, value in latents.items()}
        with context(), layout.particles(num_particles), _GivenRowsMessenger(), SubstituteMessenger(values):
            return poutine.trace(program).get_trace(*layout.batch(batch, num_particles))

    if layout.style != "looped":
        return traced(num_particles, latents)
    return _stacked([traced(1, {name: value[k] for name, value in latents.items()}) for k in range(num_particles)])


def _stacked(traces: list[poutine.Trace]) -> Any:
    """Return the sites of several runs as those of one, with values ``[K, B, ...]``."""
    columns = zip(*map(sample_sites, traces), strict=True)
    return SimpleNamespace(nodes={sites[0]["name"]: _stacked_site(sites) for sites in columns})


def _stacked_site(sites: tuple[Site, ...]) -> Site:
    values = sites[0]["value"] if sites[0]["infer"].get("_enumerate_dim") else torch.stack([site["value"] for site in sites])
    return sites[0] | {"fn": _Stacked(sites), "value": values, "mask": None}


def runs_of(sites: list[Site], layout: Layout) -> list[list[Site]]:
    """Return the sites of every run by itself, where those of several runs are joined."""
    if layout.style != "looped" or not sites:
        return [sites]
    return [list(run) for run in zip(*(site["fn"].sites for site in sites), strict=True)]


def _batch_shape(site: Site) -> torch.Size:
    return site["value"].shape[: site["value"].dim() - len(site["fn"].event_shape)]


class _Stacked:
    """The distributions of one site in K runs; like these, it has a log density, a mean and a support."""

    def __init__(self, sites: tuple[Site, ...]) -> None:
        self.sites, self.base_dist = sites, sites[0]["fn"]
        self.event_shape, self.has_rsample = self.base_dist.event_shape, self.base_dist.has_rsample

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the masked log density of the runs' own values, ``[..., K, B]``."""
        rows = [masked_log_prob(site) for site in self.sites]
        return torch.cat([row if row.dim() > 1 else row.expand(1, *row.shape) for row in rows], dim=PARTICLE_DIM)

    @property
    def mean(self) -> Tensor:
        return torch.stack([site["fn"].mean for site in self.sites])

    @property
    def support(self) -> None:
        """No support, as the log densities already account for those of the runs."""
        return None

    def sample(self) -> Tensor:
        """Draw once in every run, with the shape of the run's own values."""
        return torch.stack([site["fn"].expand(_batch_shape(site)).sample() for site in self.sites])
