"""The model's log density of a block of draws, a chunk at a time, in full precision or with the largest weights computed again."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inference.densities.layout import Latents
from inference.scoring.eager import Density
from pyro_lvm.pair import Batch

_CHUNK_ROWS = 1024  # particles times data of one call of the model: what fits a core's cache
_CHUNK_ROWS_ACCELERATOR = 65536
_CHUNK_STATES = 32  # states of enumerated latents that multiply a chunk before its rows become fewer
_RESCORED = 8  # one in so many weights of a block, the largest, is computed again in full precision


@dataclass(frozen=True)
class Chunks:
    """How a block is cut into calls of the model.

    Args:
        size: At most so many particles times data in one call; by default what fits the cache.
        num_states: States of enumerated latents, each of which the model sees for every particle and datum.
    """

    size: int | None = None
    num_states: int = 1

    def shape(self, batch: Batch, num_particles: int) -> tuple[int, int]:
        """Rows and particles of one call: all particles of few rows, as what belongs to one datum then stays in the cache."""
        most = self.size or self._default_size(batch[0].device)
        particles = even_part(num_particles, most)
        return min(len(batch[0]), most // particles), particles

    def _default_size(self, device: torch.device) -> int:
        most = _CHUNK_ROWS if device.type == "cpu" else _CHUNK_ROWS_ACCELERATOR
        return max(1, min(most, most * _CHUNK_STATES // self.num_states))


class ChunkedDensity:
    """Log density of the model at a block of draws.

    Args:
        density: Of one chunk.
        chunks: How the block is cut.

    Returns:
        On call with a batch, its latents ``[K, B, *Z]`` and their log q ``[K, B]``: log p(x, z) in float64, shape ``[K, B]``.
    """

    def __init__(self, density: Density, chunks: Chunks) -> None:
        self.density, self.chunks = density, chunks

    def __call__(self, batch: Batch, latents: Latents, log_q: Tensor) -> Tensor:
        num_particles = len(log_q)
        rows, particles = self.chunks.shape(batch, num_particles)
        columns = []
        for i in range(0, len(batch[0]), rows):
            part = tuple(x[i : i + rows] for x in batch)
            column = []
            for k in range(0, num_particles, particles):
                z = {name: value[k : k + particles, i : i + rows] for name, value in latents.items()}
                column.append(self.density(part, z, min(particles, num_particles - k)))
            columns.append(torch.cat(column))
        return torch.cat(columns, dim=1).double()  # [K, B]


class RescoredDensity:
    """As :class:`ChunkedDensity`, from rounded products, with the largest weights computed again in full.

    The mean error of those is taken from the others, as the densities of one datum are rounded much alike.

    Args:
        rounded: In the lower precision.
        full: In full precision.
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
    """How many of a datum's draws are computed again."""
    return -(-num_particles // _RESCORED)


def _taken(latents: Latents, indices: Tensor) -> Latents:
    """The draws ``[R, B, ...]`` with these indices, ``[R, B]``."""
    return {name: value.take_along_dim(indices.reshape(*indices.shape, *[1] * (value.dim() - 2)), 0) for name, value in latents.items()}


def even_part(total: int, most: int) -> int:
    """The size of the fewest parts of a total that are at most so large and, but for the last, equal."""
    return -(-total // -(-total // most))
