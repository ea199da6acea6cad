"""Ranks of true latents, and of their log densities, among draws from the guide."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from inference.densities.layout import Latents, Layout, run_guide
from inference.densities.log_density import latents_of
from inference.numerics import row_slices, seeded_blocks
from inference.scoring.chunks import Chunks
from inference.scoring.eager import Eager
from pyro_lvm.pair import Batch, programs

LIKELIHOOD, JOINT = "log p(x|z)", "log p(x, z)"
_TIED = 8  # roundings by which log densities of equal latents may differ


class Ranks(NamedTuple):
    """Ranks of the truth among L draws, of each of Q quantities.

    Attributes:
        names: The quantities: elements of latents, such as ``"z[3]"``, then :data:`LIKELIHOOD` and :data:`JOINT`.
        ranks: How many of the draws are below the truth, from 0 to L, ``[N, Q]``; where some equal it, it is one of their places at random.
        positions: The ranks as points in (0, 1), uniform within each of the L + 1 parts, ``[N, Q]``.
    """

    names: tuple[str, ...]
    ranks: Tensor
    positions: Tensor


def draw_ranks(pair: object, batch: Batch, latents: Latents, layout: Layout, num_draws: int, seed: int, chunks: Chunks) -> Ranks:
    """Rank the latents that made simulated data among draws from the guide given these data.

    Args:
        pair: Any pair.
        batch: Simulated data, N rows.
        latents: The latents that made them, by site, each ``[N, *Z]``.
        layout: As returned by :func:`~inference.densities.broadcasting.choose_layout`.
        num_draws: Draws for each datum, L.
        seed: Seed of the draws and of the places of ties; every block of data has its own.
        chunks: How the model's work is divided.

    Raises:
        ValueError: If a draw or a log density is not a number.
    """
    eager, parts = Eager(pair, layout), []
    rows = torch.arange(len(batch[0]), device=batch[0].device)
    for block in seeded_blocks(rows, chunks.block_shape(num_draws, batch)[1], seed, 3):
        some, true = tuple(x[block] for x in batch), {name: value[block] for name, value in latents.items()}
        values, tolerance = _quantities(eager, chunks, some, _with_draws(pair, some, true, num_draws, layout))
        parts.append(_ranked(values, tolerance))
    ranks, positions = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return Ranks((*_element_names(latents), LIKELIHOOD, JOINT), ranks, positions)


def _with_draws(pair: object, batch: Batch, true: Latents, num_draws: int, layout: Layout) -> Latents:
    """The true latents and, after them, draws from the guide, each ``[1 + L, B, *Z]``."""
    drawn = latents_of(run_guide(programs(pair)[1], batch, num_draws, layout), num_draws, len(batch[0]), layout)
    for name in true:
        if not bool(drawn[name].isfinite().all()):
            raise ValueError(f"draws from the guide must be finite; those of '{name}' are not. Check for NaN in the guide's parameters.")
    return {name: torch.cat([z[None], drawn[name].expand(-1, *z.shape).to(z.dtype)]) for name, z in true.items()}


def _quantities(eager: Eager, chunks: Chunks, batch: Batch, latents: Latents) -> tuple[Tensor, Tensor]:
    """All quantities ``[1 + L, B, Q]`` in float64, and by how much equal ones may differ, ``[B, Q]``."""
    prior, joint = _densities(eager, chunks, batch, latents)  # [1 + L, B]
    likelihood = torch.where(prior == -torch.inf, prior, joint - prior)
    if bool((likelihood.isnan() | joint.isnan()).any()):
        raise ValueError("log p(x, z) must be a number at every draw from the guide; it is NaN at some. Check for NaN in the parameters.")
    densities = torch.stack([likelihood, joint], -1)  # [1 + L, B, 2]
    elements = torch.cat([z.reshape(*z.shape[:2], -1).double() for z in latents.values()], -1)
    size = densities.where(densities.isfinite(), 0.0).abs().amax(0)  # [B, 2]
    tolerance = torch.cat([torch.zeros_like(elements[0]), _TIED * _epsilon(batch, latents) * size], -1)
    return torch.cat([elements, densities], -1), tolerance


def _densities(eager: Eager, chunks: Chunks, batch: Batch, latents: Latents) -> tuple[Tensor, Tensor]:
    """log p(z) and log p(x, z), each ``[1 + L, B]``, computed in chunks."""
    count = len(next(iter(latents.values())))
    rows, particles = chunks.shape(batch, count)
    columns = []
    for some in row_slices(len(batch[0]), rows):
        part = tuple(x[some] for x in batch)
        each = ({name: z[k : k + particles, some] for name, z in latents.items()} for k in range(0, count, particles))
        columns.append(torch.cat([torch.stack(eager.prior_and_joint(part, z)) for z in each], 1))  # [2, 1 + L, b]
    prior, joint = torch.cat(columns, 2)
    return prior, joint


def _epsilon(batch: Batch, latents: Latents) -> float:
    kinds = [x.dtype for x in (*latents.values(), *batch) if x.is_floating_point()]
    return max((torch.finfo(kind).eps for kind in kinds), default=torch.finfo(torch.float32).eps)


def _ranked(values: Tensor, tolerance: Tensor) -> tuple[Tensor, Tensor]:
    """Ranks and positions ``[B, Q]`` of the first of ``[1 + L, B, Q]`` values."""
    distance = values[1:] - values[0]
    is_tied = (distance.abs() <= tolerance) | (values[1:] == values[0])  # also where both are infinite
    below, tied = ((distance < 0) & ~is_tied).sum(0), is_tied.sum(0)
    place, inside = torch.rand(2, *below.shape, dtype=torch.float64).to(below.device)
    ranks = below + (place * (tied + 1)).long()
    return ranks, (ranks + inside) / len(values)


def _element_names(latents: Latents) -> Iterable[str]:
    for name, value in latents.items():
        yield from (f"{name}[{', '.join(map(str, index))}]" if index else name for index in np.ndindex(*value.shape[1:]))
