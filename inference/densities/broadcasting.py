"""Decide whether draws may be broadcast, by comparing log weights."""

from collections.abc import Callable

import torch
from torch import Tensor

from inference.densities.layout import Latents, Layout, run_guide, run_model
from inference.densities.log_density import latents_of, log_density
from pyro_lvm.pair import Batch, programs


def choose_layout(pair: object, batch: Batch) -> Layout:
    """Choose the broadcast layout if it yields the same log weights as tiling on a few rows and identical draws, else tiling.

    The comparison is needed because a program that slices ``z[:, :1]`` runs on ``[K, B, D]`` without an error but returns wrong figures.
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
        except Exception:  # a program may raise any error at an unexpected shape; it has just run tiled
            return tiled
    # A wrong slice changes log weights by nats, rounding by a few last digits of the largest density. If in doubt, tiling is correct.
    relative, absolute = (1e-12, 1e-9) if expected.dtype == torch.float64 else (1e-6, 1e-3)
    return broadcast if torch.allclose(got, expected, rtol=relative, atol=absolute, equal_nan=True) else tiled


def _log_weights_at(model: Callable[..., object], guide: Callable[..., object], batch: Batch, latents: Latents, layout: Layout) -> Tensor:
    size = len(batch[0])
    log_q = log_density(run_guide(guide, batch, 2, layout, latents), 2, size, layout)
    return log_density(run_model(model, batch, latents, 2, layout), 2, size, layout) - log_q
