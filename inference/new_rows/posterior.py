"""Draws from p(z | x) itself: those of a proposal, drawn again by their importance weights."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from inference.densities.broadcasting import choose_layout
from inference.densities.layout import Latents
from inference.densities.scope import check_scorable, scoring
from inference.numerics import block_seed, row_slices, seed_generators
from inference.scoring.chunks import ChunkedDensity, Chunks
from inference.scoring.eager import PYRO, Eager
from inference.scoring.pareto import pareto_k_threshold
from inference.scoring.proposals.assembly import LEAST, Assembly, coordinates_for
from inference.scoring.proposals.guided import joined
from inference.scoring.proposals.marks import mark_alike, mark_unreached
from inference.scoring.proposals.score import block_draws, row_jobs
from inference.scoring.reduction import WeightSummary, reduce_log_weights
from pyro_lvm.pair import Batch
from pyro_lvm.structure import Structure

LEAST_ESS = 50.0  # effective draws, with fewer of which draws made of them are too much alike
_DRAWN_AGAIN = 5  # a stream of noise of its own

Drawn = tuple[Latents, WeightSummary]


class Posterior(NamedTuple):
    """Draws from p(z | x), and how far they can be trusted.

    Attributes:
        latents: Draws by site, each ``[M, B, *Z]``.
        ess: Effective number of the proposal's draws among which they are chosen, ``[B]``.
        pareto_k: Pareto shape of the largest weights, ``[B]``; infinite where the proposal is known to miss latents.
        is_poor: Where they are not draws from p(z | x): too few effective draws, or too heavy a tail, ``[B]``.
    """

    latents: Latents
    ess: Tensor
    pareto_k: Tensor
    is_poor: Tensor


def draw_posterior(pair: object, batch: Batch, *, num_draws: int, num_particles: int, seed: int) -> Posterior:
    r"""Draw latents from p(z | x) by importance resampling.

    Of K draws from a proposal, which is refined for each datum where latents have unconstrained coordinates, M are chosen with
    probabilities proportional to their weights

    .. math:: w_k = p(x, z_k) / q(z_k).

    Args:
        pair: Any pair with a likelihood for each datum.
        batch: Its arguments, ``[B, *X]`` first.
        num_draws: Draws for each datum, M.
        num_particles: Draws from the proposal for each datum, K.
        seed: Seed of the draws.

    Raises:
        ValueError: As for :func:`~inference.scoring.importance.log_weights`; also if no draw has any density for some datum.
    """
    with scoring(pair, batch[0].device):
        structure = check_scorable(pair, batch)
        if structure.is_exact:
            whole = torch.full((len(batch[0]),), float(num_particles)).double()
            return Posterior({}, whole, torch.full_like(whole, torch.nan), torch.zeros_like(whole, dtype=torch.bool))
        parts = [*_blocks(pair, structure, batch, num_draws, num_particles, seed)]
    latents = {name: torch.cat([part[name] for part, _ in parts], dim=1) for name in parts[0][0]}
    summary = joined([part for _, part in parts])
    is_poor = ~(summary.ess >= LEAST_ESS) | (summary.pareto_k > pareto_k_threshold(max(num_particles, 2)))
    return Posterior(latents, summary.ess, summary.pareto_k, is_poor)


def _blocks(pair: object, structure: Structure, batch: Batch, num_draws: int, num_particles: int, seed: int) -> Iterator[Drawn]:
    layout = choose_layout(pair, batch, bool(structure.row_parameters))
    eager, chunks = Eager(pair, layout), Chunks(None, layout)
    coordinates = coordinates_for("auto", pair, structure, batch, max(num_particles, LEAST))
    if coordinates is None:
        blocks = _from_guide(eager, chunks, structure, batch, num_particles, seed)
    else:
        assembly = Assembly(eager, coordinates, chunks, "full", batch, num_particles)
        refiner = assembly.interpreted(is_forced=True)  # whose tails are heavy: a guide that is a little too narrow would do for a score
        blocks = (block_draws(refiner, x, num_particles, own) for x, own in row_jobs(batch, assembly.rows(), seed))
    start = 0
    for index, (summary, log_weights, latents) in enumerate(blocks):
        _check_possible(summary.log_px, start)
        start += len(summary.log_px)
        yield _chosen(log_weights, latents, num_draws, block_seed(seed, _DRAWN_AGAIN, index)), summary


def _from_guide(
    eager: Eager, chunks: Chunks, structure: Structure, batch: Batch, num_particles: int, seed: int
) -> Iterator[tuple[WeightSummary, Tensor, Latents]]:
    _, rows = chunks.block_shape(num_particles, batch)
    density = ChunkedDensity(eager.density("full"), chunks)
    for index, some in enumerate(row_slices(len(batch[0]), rows)):
        block, own = tuple(x[some].contiguous() for x in batch), block_seed(seed, index)
        with PYRO:
            seed_generators(batch[0].device, own)
            log_q, latents = eager.draws(block, num_particles)
        log_weights = density(block, latents, log_q) - log_q
        summary = mark_alike(reduce_log_weights(log_weights, is_bound=False), eager, structure, block, num_particles, own)
        yield mark_unreached(summary, eager, structure, block, own), log_weights, latents


def _check_possible(log_px: Tensor, start: int) -> None:
    impossible = (log_px == -torch.inf).nonzero().flatten() + start
    if len(impossible):
        raise ValueError(
            f"the observed cells of every row must be possible under the model; no draw explains those of {len(impossible)} rows, the "
            f"first of them row {int(impossible[0])}. Leave these rows out."
        )


def _chosen(log_weights: Tensor, latents: Latents, num_draws: int, seed: int) -> Latents:
    """Choose some of the draws of each datum, with replacement, by their weights."""
    generator = torch.Generator(log_weights.device).manual_seed(seed)
    places = log_weights.softmax(0).T.multinomial(num_draws, replacement=True, generator=generator).T  # [M, R]
    return {name: z.take_along_dim(places.reshape(*places.shape, *[1] * (z.dim() - 2)), 0) for name, z in latents.items()}
