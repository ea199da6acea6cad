"""Log weights of blocks of draws, computed by Pyro, or by machine code in several threads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from inference.densities.layout import Latents
from inference.numerics import one_thread, seed_generators
from inference.scoring.chunks import ChunkedDensity, Chunks, RescoredDensity, num_rescored
from inference.scoring.compiled import CompiledDensity, CompiledDraws
from inference.scoring.eager import PYRO, Draws, Eager
from inference.tracing.precision import Precision
from pyro_lvm.checks import warn_caller
from pyro_lvm.pair import Batch


@dataclass(frozen=True)
class Scorer:
    """Log weights of a block of draws.

    Attributes:
        draws: Makes fresh draws from the guide.
        log_density: Computes the log density of the model at these draws.
        chunks: How draws are divided into blocks.
        suits_workers: Whether several threads may score blocks at the same time. This excludes Pyro, whose handlers are not thread-safe,
            and models that draw, as all threads draw from one generator.
    """

    draws: Draws
    log_density: Callable[[Batch, Latents, Tensor], Tensor]
    chunks: Chunks = Chunks()
    suits_workers: bool = False

    def log_weights(self, batch: Batch, num_particles: int, seed: int) -> Tensor:
        """Return the log weights ``[K, B]`` of fresh draws, in float64; the draws depend only on the seed."""
        with PYRO:
            seed_generators(batch[0].device, seed)
            log_q, latents = self.draws(batch, num_particles)
        return self.log_density(batch, latents, log_q) - log_q

    @classmethod
    def eager(cls, eager: Eager, chunks: Chunks, precision: Precision = "full") -> Self:
        """Make a scorer that runs the pair by Pyro."""
        full = ChunkedDensity(eager.density("full"), chunks)
        if precision == "full":
            return cls(eager.draws, full, chunks)
        return cls(eager.draws, RescoredDensity(ChunkedDensity(eager.density(precision), chunks), full), chunks)

    @classmethod
    def compiled(cls, eager: Eager, chunks: Chunks, precision: Precision, blocks: Sequence[Batch], num_particles: int) -> Self:
        """Make a scorer that is compiled, for one thread, for blocks of this shape and their whole chunks; Pyro runs all other shapes.

        Raises:
            UntraceableError: If the pair cannot be compiled, or compiled values differ from Pyro's on one of the blocks.
        """
        with torch.random.fork_rng(), one_thread():
            draws = CompiledDraws(eager.draws, blocks, num_particles)

            def density(precision: Precision, num_particles: int) -> CompiledDensity:
                rows, particles = chunks.shape(blocks[0], num_particles)
                parts = [part_of(block, latents, rows, particles) for block, latents in zip(blocks, draws.latents, strict=True)]
                return CompiledDensity(eager, precision, parts, particles)

            first = density(precision, num_particles)
            if precision == "full":
                return cls(draws, ChunkedDensity(first, chunks), chunks, first.suits_workers)
            again = ChunkedDensity(density("full", num_rescored(num_particles)), chunks)
            return cls(draws, RescoredDensity(ChunkedDensity(first, chunks), again), chunks, first.suits_workers)


def part_of(batch: Batch, latents: Latents, rows: int, particles: int) -> tuple[Batch, Latents]:
    """Return rows spread over a block, and some of their draws."""
    places = torch.linspace(0, len(batch[0]) - 1, rows, dtype=torch.float64, device=batch[0].device).round().long()
    return tuple(x[places] for x in batch), {name: value[:particles, places] for name, value in latents.items()}


def make_scorer(
    eager: Eager, chunks: Chunks, precision: Precision, blocks: Sequence[Batch], num_particles: int, *, is_required: bool
) -> Scorer:
    """Make a compiled scorer for blocks of this shape or, if that is impossible, an eager one and a warning that says why.

    Args:
        eager: The pair's programs.
        chunks: How a block is divided into calls of the model.
        precision: Precision of matrix products.
        blocks: Blocks of one shape: the one that is traced, and others, from elsewhere in the data, on which values are compared.
        num_particles: Draws per datum in a block.
        is_required: Whether the pair must be compilable.

    Raises:
        ValueError: If compiling is required but impossible.
    """
    try:
        return Scorer.compiled(eager, chunks, precision, blocks, num_particles)
    except Exception as error:  # of the programs, torch's compiler and what it runs, of any type
        refuse_or_warn(error, is_required=is_required)
    return Scorer.eager(eager, chunks, precision)


def refuse_or_warn(error: Exception, *, is_required: bool) -> None:
    """Say that a pair cannot be compiled: in an error if it must be, else in a warning.

    Raises:
        ValueError: If the pair must be compilable.
    """
    if is_required:
        raise ValueError(f"the pair must be compilable with compile=True: {error}. Change it, or use compile='auto'.") from error
    warn_caller(f"evaluate runs without compiled programs: {error}.")
