"""Noise that is drawn once for every row of a data set, and drawn again wherever a row is read."""

from collections.abc import Callable, Sequence
import math

import numpy as np

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


class Noise:
    """Draws of NumPy's generator for rows ``[N, *X]``: those that one call for all rows would make, for any rows in any order.

    The generator can be moved to any of its numbers, so that nothing is kept.

    Args:
        seed: Seed of the generator.
        shape: ``(N, *X)``.
        draw: Draws an array of a shape from a generator, with 32 random bits for each number, as ``rng.random(shape, dtype=numpy.float32)``
            does, and ``rng.integers(n, size=shape)`` for n a power of 2 below 2**32.
    """

    def __init__(self, seed: Sequence[int], shape: Sequence[int], draw: Draw) -> None:
        self.seed, self.shape, self.draw, self.row = list(seed), tuple(shape[1:]), draw, math.prod(shape[1:])

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Return the draws of the rows at ``places``, ``[B, *X]``."""
        bits, done, drawn = np.random.PCG64(self.seed), 0, []  # that of numpy.random.default_rng
        rng = np.random.Generator(bits)
        for run in np.split(places, np.flatnonzero(np.diff(places) != 1) + 1):
            first, count = int(run[0]) * self.row if len(run) else 0, len(run) * self.row
            bits.advance(first // 2 - done)  # it makes 64 bits at a time, the first half of which is used first
            drawn.append(self.draw(rng, (first % 2 + count,))[first % 2 :])
            done = (first + count + 1) // 2
        return np.concatenate(drawn).reshape(-1, *self.shape)
