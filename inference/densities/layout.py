"""Layouts of the draws for each datum in one run of a program, and the runs themselves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyro
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_lvm.pair import Batch
from pyro_lvm.sites import Site, density_sites

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
            msg["done"] = True


class Layout:
    """Layout of ``num_particles`` draws for each datum in one run of a program.

    Broadcast: the batch stays ``[B, *X]`` under an outer plate of particles, so that latents are ``[K, B, ...]`` and the encoder sees
    each datum once. Tiled: every datum is repeated along the data plate, ``[K * B, *X]``, which works for any program.
    """

    def __init__(self, broadcast: bool) -> None:
        self.broadcast = broadcast

    @contextmanager
    def particles(self, num_particles: int) -> Iterator[None]:
        if self.broadcast:
            with pyro.plate("_particles", num_particles, dim=PARTICLE_DIM):
                yield
        else:
            yield

    def batch(self, batch: Batch, num_particles: int) -> tuple[Tensor, ...]:
        if self.broadcast:
            return batch
        return tuple(x.repeat(num_particles, *[1] * (x.dim() - 1)) for x in batch)  # [K * B, *X]

    def split(self, value: Tensor, num_particles: int, size: int) -> Tensor:
        """Reshape from the layout of a run to ``[K, B, ...]``."""
        return value if self.broadcast else value.reshape(num_particles, size, *value.shape[1:])

    def join(self, value: Tensor) -> Tensor:
        """Reshape from ``[K, B, ...]`` to the layout of a run."""
        return value if self.broadcast else value.flatten(0, 1)


def run_guide(
    guide: Callable[..., object], batch: Batch, num_particles: int, layout: Layout, latents: Latents | None = None
) -> poutine.Trace:
    """Trace the guide with ``num_particles`` draws for each datum, or at given latents ``[K, B, ...]``."""
    return _run(guide, batch, num_particles, layout, latents or {})


def run_model(model: Callable[..., object], batch: Batch, latents: Latents, num_particles: int, layout: Layout) -> poutine.Trace:
    """Trace the model at given latents ``[K, B, ...]``, and enumerate the discrete sites that are marked for it.

    Raises:
        ValueError: If two enumerated sites share a dimension, as under ``pyro.markov``.
    """
    with poutine.enum(first_available_dim=PARTICLE_DIM - 1):
        trace = _run(model, batch, num_particles, layout, latents)
    dims = [site["infer"].get("_enumerate_dim") for site in density_sites(trace)]
    dims = [dim for dim in dims if dim is not None]
    if len(dims) != len(set(dims)):
        raise ValueError("each enumerated site must have its own dimension; got pyro.markov, which shares them. Leave pyro.markov out.")
    return trace


def _run(program: Callable[..., object], batch: Batch, num_particles: int, layout: Layout, latents: Latents) -> poutine.Trace:
    values = {name: layout.join(value) for name, value in latents.items()}
    with layout.particles(num_particles), SubstituteMessenger(values):
        return poutine.trace(program).get_trace(*layout.batch(batch, num_particles))
