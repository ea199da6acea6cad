"""Put a refiner together from a pair's programs, run by Pyro or compiled."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from inference.densities.layout import Latents
from inference.densities.trials import distinct_rows
from inference.densities.unconstrained import ConstrainedError, Coordinates, coordinates
from inference.numerics import one_thread, row_slices
from inference.scoring.blocks import two_blocks
from inference.scoring.chunks import ChunkedDensity, Chunks, RescoredDensity, num_rescored
from inference.scoring.compiled import CompiledDensity, CompiledDraws, CompiledScores
from inference.scoring.eager import Density as ChunkDensity
from inference.scoring.eager import Draws, Eager, Scores
from inference.scoring.proposals.families import Family, family_of
from inference.scoring.proposals.judging import NUM_PILOT
from inference.scoring.proposals.normal import DiagonalNormal
from inference.scoring.proposals.refined import Refiner
from inference.scoring.scorer import part_of
from inference.tracing.precision import Precision
from pyro_lvm.pair import Batch
from pyro_lvm.structure import Structure

ProposalName = Literal["auto", "guide", "refined"]
PROPOSALS = get_args(ProposalName)
_MOST_DIMS = 4096
LEAST = 100  # draws from which on a fit is worth its time
_CHUNK = 1024  # draws times data at which gradients are computed at once
_PRIOR_DRAWS = 1024
_ONE_SIGMA = (0.1587, 0.5, 0.8413)  # probabilities of a standard normal number below -1, 0 and 1


class ChunkedScores:
    """Log density and gradients at a block of vectors, computed in chunks of rows; -inf and NaN where latents are not inside their spaces.

    Args:
        coordinates: The latents as one unconstrained vector.
        scores: Log density and gradients of one chunk.
        rows: Number of rows of a chunk.
    """

    def __init__(self, coordinates: Coordinates, scores: Scores, rows: int) -> None:
        self.coordinates, self.scores, self.rows = coordinates, scores, rows

    def __call__(self, batch: Batch, vector: Tensor) -> tuple[Tensor, Tensor]:
        slices = row_slices(len(batch[0]), self.rows)
        parts = [self.scores(tuple(x[some] for x in batch), vector[:, some]) for some in slices]
        log_p, gradient = (torch.cat(columns, dim=1) for columns in zip(*parts, strict=True))
        inside = self.coordinates.are_inside(vector)
        return log_p.where(inside, -torch.inf), gradient.where(inside[..., None], torch.nan)


def coordinates_for(proposal: str, pair: object, structure: Structure, batch: Batch, num_particles: int) -> Coordinates | None:
    """Return the coordinates in which proposals are refined, or None if the guide is the proposal.

    Raises:
        ValueError: If the proposal has no known name, or must be refined but cannot.
    """
    check_proposal(proposal)
    if proposal == "guide" or structure.is_exact or (proposal == "auto" and num_particles < LEAST):
        return None
    try:
        return coordinates_of_fit(pair, structure, batch)
    except ConstrainedError as error:
        if proposal == "refined":
            raise ValueError(f"proposal='refined' cannot be used: {error}. Use proposal='guide', or 'auto'.") from error
        return None


def coordinates_of_fit(pair: object, structure: Structure, batch: Batch) -> Coordinates:
    """Return the coordinates in which proposals are fitted.

    Raises:
        ConstrainedError: If there are none, or too many.
    """
    found = coordinates(pair, batch, structure)
    if found.dim > _MOST_DIMS:
        raise ConstrainedError(f"the latents have {found.dim} coordinates, and proposals are fitted to at most {_MOST_DIMS}")
    return found


def check_proposal(proposal: str) -> None:
    """Check the name of a proposal.

    Raises:
        ValueError: If it has no known name.
    """
    if proposal not in PROPOSALS:
        raise ValueError(f"proposal must be one of {PROPOSALS}; got {proposal!r}.")


@dataclass(frozen=True)
class Assembly:
    """What refiners of a pair are made of.

    Args:
        eager: The pair's programs.
        coordinates: The latents as one unconstrained vector.
        chunks: How draws are divided into blocks and calls of the model.
        precision: Precision of matrix products.
        batch: All data.
        num_particles: Draws per datum of a score.
    """

    eager: Eager
    coordinates: Coordinates
    chunks: Chunks
    precision: Precision
    batch: Batch
    num_particles: int

    @cached_property
    def prior(self) -> DiagonalNormal:
        """The prior's moments, ``[1, D]``."""
        return prior_moments(self.eager, self.coordinates, self.batch)

    @cached_property
    def family(self) -> Family:
        """The normal distributions that are fitted."""
        return family_of(self.coordinates.dim, self.prior)

    def rows(self) -> int:
        """Return the number of data whose proposals are fitted together."""
        if self.chunks.layout.needs_all_rows:
            return len(self.batch[0])
        size = _CHUNK if self.batch[0].device.type == "cpu" else 64 * _CHUNK
        return max(2, min(size // self.family.num_draws, self.family.rows(self.coordinates.dim)))

    def interpreted(self, *, is_forced: bool) -> Refiner:
        """Make a refiner that runs the pair by Pyro."""
        return self._refiner(
            self.eager.draws,
            self.eager.density(self.precision),
            self.eager.density(self.precision),
            self.eager.density("full"),
            self.eager.scores(self.coordinates, self.precision),
            is_forced,
        )

    def compiled(self, *, is_forced: bool) -> tuple[Refiner, bool]:
        """Make a refiner that is compiled, for one thread, for full blocks; Pyro runs all other shapes.

        Returns:
            The refiner, and whether several threads may use it.

        Raises:
            UntraceableError: If the pair cannot be compiled, or compiled values differ from Pyro's on one of the blocks.
        """
        with torch.random.fork_rng(), one_thread():
            blocks = two_blocks(self.batch, self.rows())
            draws = CompiledDraws(self.eager.draws, blocks, NUM_PILOT)
            pilots = [self.eager.draws(block, NUM_PILOT)[1] for block in blocks]
            pilot = self._compiled_density(self.precision, blocks, pilots, NUM_PILOT)
            particles, rows = self.chunks.block_shape(self.num_particles, self.batch)
            small = two_blocks(self.batch, rows)
            latents = [self.eager.draws(block, particles)[1] for block in small]
            density = self._compiled_density(self.precision, small, latents, particles)
            again = density if self.precision == "full" else self._compiled_density("full", small, latents, num_rescored(particles))
            scores = self._compiled_scores(blocks, draws.latents)
            refiner = self._refiner(draws, pilot, density, again, scores, is_forced)
        return refiner, pilot.suits_workers and density.suits_workers and scores.suits_workers

    def _compiled_density(self, precision: Precision, blocks: list[Batch], latents: list[Latents], particles: int) -> CompiledDensity:
        rows, count = self.chunks.shape(blocks[0], particles)
        parts = [part_of(block, values, rows, count) for block, values in zip(blocks, latents, strict=True)]
        return CompiledDensity(self.eager, precision, parts, count)

    def _compiled_scores(self, blocks: list[Batch], latents: list[Latents]) -> CompiledScores:
        parts = [part_of(block, values, self._score_rows(), self.family.num_draws) for block, values in zip(blocks, latents, strict=True)]
        return CompiledScores(
            self.eager, self.coordinates, self.precision, [(x, self.coordinates.vector(z).nan_to_num()) for x, z in parts]
        )

    def _score_rows(self) -> int:
        return self.chunks.shape(tuple(x[: self.rows()] for x in self.batch), self.family.num_draws)[0]

    def _refiner(
        self, draws: Draws, pilot: ChunkDensity, density: ChunkDensity, again: ChunkDensity, scores: Scores, is_forced: bool
    ) -> Refiner:
        chunked = ChunkedDensity(density, self.chunks)
        return Refiner(
            coordinates=self.coordinates,
            draws=draws,
            eager=self.eager,
            pilot_density=ChunkedDensity(pilot, self.chunks),
            density=chunked if self.precision == "full" else RescoredDensity(chunked, ChunkedDensity(again, self.chunks)),
            scores=ChunkedScores(self.coordinates, scores, self._score_rows()),
            chunks=self.chunks,
            prior=self.prior,
            family=self.family,
            is_forced=is_forced,
        )


def prior_moments(eager: Eager, coordinates: Coordinates, batch: Batch) -> DiagonalNormal:
    """Return medians and half of the central 68 % of the prior's draws, of all data together, as a normal distribution ``[1, D]``."""
    rows = batch if eager.layout.needs_all_rows else distinct_rows(batch)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        latents = eager.prior_draws(rows, coordinates.names, max(2, _PRIOR_DRAWS // len(rows[0])))
    draws = coordinates.vector(latents).flatten(0, 1)  # [P * R, D]
    draws = draws[draws.isfinite().all(1)]
    low, middle, high = draws.quantile(draws.new_tensor(_ONE_SIGMA), dim=0, keepdim=True)  # [1, D]
    return DiagonalNormal(middle, (0.5 * (high - low)).clamp_min(torch.finfo(torch.float32).tiny))
