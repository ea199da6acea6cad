"""Whether draws may be broadcast: decided by comparing log weights."""

from collections.abc import Callable

import torch
from torch import Tensor

from inference.densities.layout import Latents, Layout, run_guide, run_model
from inference.densities.log_density import latents_of, log_density
from pyro_lvm.pair import programs


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
