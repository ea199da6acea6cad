"""The model's log density at a block of draws, in chunks; in full precision, or with only the largest weights recomputed in it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inference.densities.layout import BROADCAST, Latents, Layout
from inference.numerics import row_slices
from inference.scoring.eager import Density
from pyro_lvm.pair import Batch

_BLOCK_PARTICLES = 1024
_BLOCK_ROWS = 4096  # particles times data in one block of noise
_BLOCK_ROWS_ACCELERATOR = 65536
_CHUNK_ROWS = 1024  # particles times data in one call of the model, to fit a core's cache
_CHUNK_ROWS_ACCELERATOR = 65536
_CHUNK_STATES = 32  # states of enumerated latents up to which a chunk keeps its size
_RESCORED = 8  # one in eight of a datum's weights, the largest ones, is recomputed in full precision


@dataclass(frozen=True)
class Chunks:
    """How draws are divided into blocks with their own noise, and blocks into calls of the model.

    No block and no call has a single row where the data have more, as a program's ``squeeze`` would then drop the data's dimension.

    Args:
        size: Maximum number of particles times data in one call; by default, what fits the cache.
        layout: The layout of one run; the model evaluates each of its states of enumerated latents for every particle and datum.
    """

    size: int | None = None
    layout: Layout = BROADCAST

    def block_shape(self, num_particles: int, batch: Batch) -> tuple[int, int]:
        """Return the numbers of particles and rows in a block of noise."""
        most = _BLOCK_ROWS if batch[0].device.type == "cpu" else _BLOCK_ROWS_ACCELERATOR
        if self.layout.needs_all_rows:
            return even_part(num_particles, max(1, min(_BLOCK_PARTICLES, most // len(batch[0])))), len(batch[0])
        particles = even_part(num_particles, _BLOCK_PARTICLES)
        return particles, max(2, most // particles)

    def shape(self, batch: Batch, num_particles: int) -> tuple[int, int]:
        """Return the rows and particles of one call: as many particles of few rows as fit, so that values of a datum stay in the cache."""
        size, most = len(batch[0]), self.size or self._default_size(batch[0].device)
        if self.layout.needs_all_rows:
            return size, even_part(num_particles, max(1, most // size))
        rows = max(min(2, size), min(size, most // even_part(num_particles, most)))
        return even_part(size, rows), even_part(num_particles, max(1, most // rows))

    def _default_size(self, device: torch.device) -> int:
        most = _CHUNK_ROWS if device.type == "cpu" else _CHUNK_ROWS_ACCELERATOR
        return max(1, min(most, most * _CHUNK_STATES // self.layout.num_states))


class ChunkedDensity:
    """Log density of the model at a block of draws, computed in chunks.

    Args:
        density: Log density of one chunk.
        chunks: How the block is divided.

    Returns:
        When called with a batch, its latents ``[K, B, *Z]`` and their log q ``[K, B]``: log p(x, z) in float64, shape ``[K, B]``.
    """

    def __init__(self, density: Density, chunks: Chunks) -> None:
        self.density, self.chunks = density, chunks

    def __call__(self, batch: Batch, latents: Latents, log_q: Tensor) -> Tensor:
        num_particles = len(log_q)
        rows, particles = self.chunks.shape(batch, num_particles)
        columns = []
        for some in row_slices(len(batch[0]), rows):
            part = tuple(x[some] for x in batch)
            column = []
            for k in range(0, num_particles, particles):
                z = {name: value[k : k + particles, some] for name, value in latents.items()}
                column.append(self.density(part, z, min(particles, num_particles - k)))
            columns.append(torch.cat(column))
        return torch.cat(columns, dim=1).double()  # [K, B]


class RescoredDensity:
    """Log density from rounded products, with the largest weights recomputed in full precision; called like :class:`ChunkedDensity`.

    The mean error of the recomputed weights is subtracted from all other weights, as the densities of one datum are rounded alike.

    Args:
        rounded: Log density in the lower precision.
        full: Log density in full precision.
    """

    def __init__(self, rounded: ChunkedDensity, full: ChunkedDensity) -> None:
        self.rounded, self.full = rounded, full

    def __call__(self, batch: Batch, latents: Latents, log_q: Tensor) -> Tensor:
        log_p = self.rounded(batch, latents, log_q)
        largest = (log_p - log_q).topk(num_rescored(len(log_q)), dim=0).indices  # [R, B]
        exact = self.full(batch, _taken(latents, largest), log_q.gather(0, largest))
        error = log_p.gather(0, largest) - exact
        log_p -= error.where(error.isfinite(), 0.0).mean(0)
        return log_p.scatter_(0, largest, exact)


def num_rescored(num_particles: int) -> int:
    """Return how many of a datum's draws are recomputed."""
    return -(-num_particles // _RESCORED)


def _taken(latents: Latents, indices: Tensor) -> Latents:
    """Select the draws ``[R, B, ...]`` at the indices ``[R, B]``."""
    return {name: value.take_along_dim(indices.reshape(*indices.shape, *[1] * (value.dim() - 2)), 0) for name, value in latents.items()}


def even_part(total: int, most: int) -> int:
    """Return the size of equal parts, except for the last, that divide a total into as few parts of at most ``most`` as possible."""
    return -(-total // -(-total // most))
