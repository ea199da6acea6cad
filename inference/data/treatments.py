"""How gray levels are treated before a model sees them: binarization and dequantization."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.data.readers import Arrays
from pyro_lvm.dtypes import Transform

Treated = tuple[Arrays, Transform | None, str]
NOISE_STEPS = 2**15
STREAMS = {"train": 1, "valid": 2, "test": 3}


@dataclass(frozen=True)
class Dequantize:
    r"""Spread each of ``levels`` gray levels over its share of [0, 1] by uniform noise.

    .. math:: y = (x + u) / L, \quad u \sim \mathrm{Uniform}(0, 1)

    The log density of y in nats exceeds that of x + u by :math:`\log L` per dimension.

    References:
        Theis, van den Oord, Bethge (2016), A note on the evaluation of generative models.
        https://arxiv.org/abs/1511.01844
    """

    levels: int

    def __call__(self, x: Tensor) -> Tensor:
        """Dequantize whole gray levels ``x``, ``[B, *X]``, with fresh noise."""
        return self.with_steps(x, torch.randint_like(x, NOISE_STEPS))

    def afresh(self, y: Tensor) -> Tensor:
        """Draw new noise for dequantized data ``y``, ``[B, *X]``, whose levels stay the same.

        Raises:
            ValueError: If the data are not dequantized.
        """
        return self(self.levels_of(y))

    def levels_of(self, y: Tensor) -> Tensor:
        r"""Return the gray levels of dequantized data, :math:`x = \lfloor L y \rfloor`, exactly for up to 256 levels.

        Raises:
            ValueError: If the data do not lie between 0 and 1.
        """
        if not bool(((y > 0) & (y < 1)).all()):
            raise ValueError(
                f"dequantized data must lie between 0 and 1; got values from {y.min().item():g} to {y.max().item():g}. Pass the data as "
                "load_data(..., dequantize=True) returns them, not levels."
            )
        # In float64: L y is then within 255/256 of the smallest noise of x + u, in float32 it may be rounded up to the next level.
        return (y.double() * self.levels).floor().to(y.dtype)

    def with_steps(self, x: Tensor, steps: Tensor) -> Tensor:
        """Dequantize ``x`` with u given by whole ``steps`` below ``NOISE_STEPS``, of the same shape as ``x``."""
        # float32 sums on this grid are exact, so y stays below 1 and within its own level; u is never 0.
        return (x + (steps + 0.5) / NOISE_STEPS) / self.levels


def treat(arrays: Arrays, *, levels: int | None, treatment: str | None, seed: int) -> Treated:
    """Apply one of ``TREATMENTS`` to the splits.

    Args:
        arrays: Whole gray levels by split, float32 ``[N, *X]``.
        levels: Number of gray levels, the lowest being 0; not used if the values are kept.
        treatment: A key of ``TREATMENTS``.
        seed: Seed of noise that is drawn once; static and dynamic binarization draw the same validation and test sets.

    Returns:
        The treated splits, the transform for training batches or ``None``, and a description.
    """
    return TREATMENTS[treatment](arrays, levels, seed)


def _kept(arrays: Arrays, levels: int, seed: int) -> Treated:
    return arrays, None, "values as they are"


def _half(arrays: Arrays, levels: int, seed: int) -> Treated:
    middle = (levels - 1) / 2
    return {split: (x > middle).astype(np.float32) for split, x in arrays.items()}, None, f"binarized above {middle:g}"


def _static(arrays: Arrays, levels: int, seed: int) -> Treated:
    drawn = {split: _drawn(x / (levels - 1), split, seed) for split, x in arrays.items()}
    return drawn, None, f"binarized by one Bernoulli draw of x / {levels - 1} with seed {seed}"


def _dynamic(arrays: Arrays, levels: int, seed: int) -> Treated:
    probabilities = {split: x / (levels - 1) for split, x in arrays.items()}
    drawn = {split: _drawn(probabilities[split], split, seed) for split in ("valid", "test")}
    return probabilities | drawn, torch.bernoulli, f"binarized by Bernoulli draws of x / {levels - 1}, {_when(seed)}"


def _dequantized(arrays: Arrays, levels: int, seed: int) -> Treated:
    noise = Dequantize(levels)
    drawn = {split: _with_noise(noise, x, split, seed) for split, x in arrays.items()}
    return drawn, noise.afresh, f"dequantized to (x + u) / {levels}, {_when(seed)}"


def _when(seed: int) -> str:
    return f"afresh for each training batch, once for valid and test with seed {seed}"


def _drawn(probabilities: np.ndarray, split: str, seed: int) -> np.ndarray:
    uniform = np.random.default_rng([seed, STREAMS[split]]).random(probabilities.shape, dtype=np.float32)
    return (uniform < probabilities).astype(np.float32)


def _with_noise(noise: Dequantize, x: np.ndarray, split: str, seed: int) -> np.ndarray:
    steps = np.random.default_rng([seed, STREAMS[split]]).integers(NOISE_STEPS, size=x.shape)
    return noise.with_steps(torch.from_numpy(x), torch.from_numpy(steps.astype(np.float32))).numpy()


TREATMENTS: dict[str | None, Callable[[Arrays, Any, int], Treated]] = {  # called with the splits, the number of gray levels and a seed
    None: _kept,
    "half": _half,
    "static": _static,
    "dynamic": _dynamic,
    "dequantize": _dequantized,
}
