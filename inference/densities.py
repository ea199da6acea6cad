"""Where the log densities of a pair are combined: one run of the guide, one of the model, one number for each particle and datum."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyro
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
import torch
from torch import Tensor

from pyro_lvm.pair import density_sites, programs

Latents = dict[str, Tensor]
PARTICLE_DIM = -2


class SubstituteMessenger(Messenger):
    """Fixes latent sites to given values, without marking them as observed."""

    def __init__(self, values: Latents) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: dict) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"] = self.values[msg["name"]]
            msg["done"] = True


def unweighted(site: dict) -> float:
    """Gives every density the weight one, whatever the plate's subsampling or the warm-up says."""
    return 1.0


class Layout:
    """How ``num_particles`` draws for each datum are laid out in one run of a program.

    Broadcast: the batch as it is, ``[B, *X]``, under an outer plate of particles, so that latents are ``[K, B, ...]`` and the encoder
    sees each datum once. Tiled: every datum repeated along the data plate, ``[K * B, *X]``, which any program bears.
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

    def batch(self, batch: tuple[Tensor, ...], num_particles: int) -> tuple[Tensor, ...]:
        if self.broadcast:
            return batch
        return tuple(x.repeat(num_particles, *[1] * (x.dim() - 1)) for x in batch)  # [K * B, *X]

    def split(self, value: Tensor, num_particles: int, size: int) -> Tensor:
        """From the layout of a run to ``[K, B, ...]``."""
        return value if self.broadcast else value.reshape(num_particles, size, *value.shape[1:])

    def join(self, value: Tensor) -> Tensor:
        """From ``[K, B, ...]`` to the layout of a run."""
        return value if self.broadcast else value.flatten(0, 1)


def run_guide(
    guide: Callable[..., object], batch: tuple[Tensor, ...], num_particles: int, layout: Layout, latents: Latents | None = None
) -> poutine.Trace:
    """Traces the guide with ``num_particles`` draws for each datum, or at given latents ``[K, B, ...]``."""
    return _run(guide, batch, num_particles, layout, latents or {})


def run_model(
    model: Callable[..., object], batch: tuple[Tensor, ...], latents: Latents, num_particles: int, layout: Layout
) -> poutine.Trace:
    """Traces the model at given latents ``[K, B, ...]``, with discrete sites marked for enumeration enumerated.

    Raises:
        ValueError: If two enumerated sites share a dimension, as under ``pyro.markov``.
    """
    with poutine.enum(first_available_dim=PARTICLE_DIM - 1):
        trace = _run(model, batch, num_particles, layout, latents)
    dims = [site["infer"].get("_enumerate_dim") for site in density_sites(trace)]
    dims = [dim for dim in dims if dim is not None]
    if len(dims) != len(set(dims)):
        raise ValueError("enumerated sites must have a dimension each; got pyro.markov, which shares them. Leave pyro.markov out.")
    return trace


def _run(
    program: Callable[..., object], batch: tuple[Tensor, ...], num_particles: int, layout: Layout, latents: Latents
) -> poutine.Trace:
    values = {name: layout.join(value) for name, value in latents.items()}
    with layout.particles(num_particles), SubstituteMessenger(values):
        return poutine.trace(program).get_trace(*layout.batch(batch, num_particles))


def guide_draws(guide: Callable[..., object], batch: tuple[Tensor, ...], num_particles: int, layout: Layout) -> tuple[Tensor, Latents]:
    """Log density ``[K, B]`` of fresh draws, and the draws ``[K, B, ...]`` by site."""
    trace, size = run_guide(guide, batch, num_particles, layout), len(batch[0])
    return log_density(trace, num_particles, size, layout), latents_of(trace, num_particles, size, layout)


def model_density(
    model: Callable[..., object], batch: tuple[Tensor, ...], latents: Latents, num_particles: int, layout: Layout
) -> Tensor:
    """Log density ``[K, B]`` of the model at given latents ``[K, B, ...]``."""
    return log_density(run_model(model, batch, latents, num_particles, layout), num_particles, len(batch[0]), layout)


def latents_of(trace: poutine.Trace, num_particles: int, size: int, layout: Layout) -> Latents:
    """The unobserved values of a guide's trace, each ``[K, B, ...]``."""
    return {
        site["name"]: layout.split(site["value"], num_particles, size)
        for site in density_sites(trace)
        if not site["is_observed"]
    }


def log_density(
    trace: poutine.Trace,
    num_particles: int,
    size: int,
    layout: Layout,
    weight: Callable[[dict], float | Tensor] = unweighted,
    where: Callable[[dict], bool] | None = None,
) -> Tensor:
    r"""The log density of a trace for each particle and datum, with enumerated sites summed out.

    .. math:: \log \sum_c \prod_i p_i(\cdot)^{w_i}

    over the sites i of the trace and the values c of its enumerated sites.

    Args:
        trace: A trace of the model or the guide.
        weight: The weight :math:`w_i` of a site's log density.
        where: Which sites; by default all.

    Returns:
        Log density in nats, shape ``[K, B]``.
    """
    rows = (num_particles, size) if layout.broadcast else (1, num_particles * size)
    terms = [
        weight(site) * scale_and_mask(site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]), mask=site["mask"])
        for site in density_sites(trace)
        if where is None or where(site)
    ]
    total = sum(terms, terms[0].new_zeros(rows) if terms else torch.zeros(rows))  # [..., K, B]
    if total.dim() > 2:
        total = total.flatten(0, -3).logsumexp(0)  # [K, B]
    return total.reshape(num_particles, size)


def choose_layout(pair: object, batch: tuple[Tensor, ...]) -> Layout:
    """The broadcast layout if it gives a pair's log weights of a few rows as tiling does on identical draws, else tiling.

    A program that slices ``z[:, :1]`` runs without an error on ``[K, B, D]`` and gives wrong figures; hence the comparison.
    """
    few = tuple(x[:3] for x in batch)
    tiled, broadcast = Layout(False), Layout(True)
    model, guide = programs(pair)
    with torch.random.fork_rng(), torch.no_grad():
        trace = run_guide(guide, few, 2, tiled)
        latents = latents_of(trace, 2, len(few[0]), tiled)
        expected = _log_weights_at(model, guide, few, latents, tiled)
        try:
            got = _log_weights_at(model, guide, few, latents, broadcast)
        except Exception:  # a program may raise anything at a shape that it does not expect; tiled, it has just run
            return tiled
    # A wrong slice differs by nats, rounding by a few last digits of the largest density; in doubt, tiling is right.
    relative, absolute = (1e-12, 1e-9) if expected.dtype == torch.float64 else (1e-6, 1e-3)
    return broadcast if torch.allclose(got, expected, rtol=relative, atol=absolute, equal_nan=True) else tiled


def _log_weights_at(
    model: Callable[..., object], guide: Callable[..., object], batch: tuple[Tensor, ...], latents: Latents, layout: Layout
) -> Tensor:
    size = len(batch[0])
    log_q = log_density(run_guide(guide, batch, 2, layout, latents), 2, size, layout)
    return log_density(run_model(model, batch, latents, 2, layout), 2, size, layout) - log_q
