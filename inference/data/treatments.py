"""How gray levels are treated before a model sees them: binarization and dequantization."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.data.conversion import as_float32
from inference.numerics import seeded
from pyro_lvm.dtypes import Transform
from pyro_lvm.rows.lazy import Rows, computed
from pyro_lvm.rows.noise import Noise
from pyro_lvm.rows.values import Chosen, Computed, Held, Values, parts_of

Splits = dict[str, Values]
Treated = tuple[Splits, Transform | None, str]
BINARIZE = ("default", None, "half", "static", "dynamic")
NOISE_STEPS = 2**15
STREAMS = {"train": 1, "valid": 2, "test": 3}


def check_options(binarize: str | None, dequantize: bool) -> None:
    """Check that gray levels are to be treated in one way.

    Raises:
        ValueError: If there is no such way, or two are asked for.
    """
    if binarize not in BINARIZE:
        raise ValueError(f"binarize must be one of {BINARIZE}; got {binarize!r}. Choose one of these.")
    if dequantize and binarize not in ("default", None):
        raise ValueError(f"binarize must be left out with dequantize=True; got {binarize!r}. Choose one.")


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


@dataclass(frozen=True)
class Treatment:
    """How the values of a data set were read and treated, so that other rows can be treated alike.

    Attributes:
        name: A key of ``TREATMENTS``.
        levels: Number of gray levels, or None if the values are not gray levels.
        seed: Seed of noise that is drawn once.
        row_shape: Shape of a row in the source, *X; None if the data are not rows of numbers, such as text.
        said: What was done, in words.
    """

    name: str | None = None
    levels: int | None = None
    seed: int = 0
    row_shape: tuple[int, ...] | None = None
    said: str = "values as they are"


def treat_alike(values: Values, treatment: Treatment) -> Values:
    """Treat rows ``[N, *X]`` as the test data of a data set were treated, which are the same whatever other splits there are."""
    nothing = Chosen(values, np.arange(0))
    splits: Splits = {"train": nothing, "valid": nothing, "test": values}
    return treat(splits, levels=treatment.levels, treatment=treatment.name, seed=treatment.seed)[0]["test"]


def gray_levels(values: dict[str, Values]) -> int | None:
    """Return the number of gray levels, or None if values are no gray levels: 256 for levels above 127, and
    otherwise one more than the highest, as 17 for levels 0 to 16."""
    high = 0.0
    for x in values.values():
        for part in (as_float32(x) if x.dtype.kind == "f" else x).parts():
            high = max(high, float(part.max()))
            if part.min() < 0 or high > 255 or (part.dtype.kind == "f" and not np.array_equal(part, np.rint(part))):
                return None
    if high <= 1:
        return None
    return 256 if high > 127 else int(high) + 1


def treat(values: Splits, *, levels: int | None, treatment: str | None, seed: int) -> Treated:
    """Apply one of ``TREATMENTS`` to the splits.

    Args:
        values: Whole gray levels by split, ``[N, *X]``.
        levels: Number of gray levels, the lowest being 0; not used if the values are kept.
        treatment: A key of ``TREATMENTS``.
        seed: Seed of noise that is drawn once; static and dynamic binarization draw the same validation and test sets.

    Returns:
        The treated splits, the transform for training batches or ``None``, and a description. Splits in files are treated where their rows
        are read; those in memory now if noise is drawn.
    """
    return TREATMENTS[treatment](values, levels, seed)


def _kept(values: Splits, levels: int, seed: int) -> Treated:
    return values, None, "values as they are"


def _half(values: Splits, levels: int, seed: int) -> Treated:
    middle = (levels - 1) / 2
    halves: Splits = {
        split: Computed(x, lambda rows, places: (rows > middle).astype(np.float32), np.float32) for split, x in values.items()
    }
    return halves, None, f"binarized above {middle:g}"


def _static(values: Splits, levels: int, seed: int) -> Treated:
    drawn = {split: drawn_bits(_shares(x, levels), seed, STREAMS[split]) for split, x in values.items()}
    return drawn, None, f"binarized by one Bernoulli draw of x / {levels - 1} with seed {seed}"


def _dynamic(values: Splits, levels: int, seed: int) -> Treated:
    probabilities: Splits = {split: _shares(x, levels) for split, x in values.items()}
    drawn = {split: drawn_bits(probabilities[split], seed, STREAMS[split]) for split in ("valid", "test")}
    return probabilities | drawn, torch.bernoulli, f"binarized by Bernoulli draws of x / {levels - 1}, {_when(seed)}"


def _dequantized(values: Splits, levels: int, seed: int) -> Treated:
    noise = Dequantize(levels)
    drawn = {split: _with_noise(noise, x, split, seed) for split, x in values.items()}
    return drawn, noise.afresh, f"dequantized to (x + u) / {levels}, {_when(seed)}"


def drawn_once(train: Tensor, transform: Transform | None, seed: int) -> Tensor:
    """Training data after one draw of their transform's noise; of rows in a file, each row's is drawn where it is read, always the same."""
    if transform is None:
        return train
    if not (isinstance(train, Rows) and train.kept.is_streamed):
        with seeded(seed):
            return transform(train)
    if transform is torch.bernoulli:
        return Rows(as_float32(drawn_bits(train.kept, seed, STREAMS["train"])))
    if isinstance(getattr(transform, "__self__", None), Dequantize):
        return train  # their own noise is one draw
    return computed(train, transform)


def _when(seed: int) -> str:
    return f"afresh for each training batch, once for valid and test with seed {seed}"


def _shares(values: Values, levels: int) -> Values:
    def shares(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        rows = rows.astype(np.float32)
        rows /= levels - 1
        return rows

    return Computed(values, shares, np.float32)


def drawn_bits(probabilities: Values, seed: int, stream: int) -> Values:
    """Bits ``[N, *X]``, each drawn once with its probability; which noise a row is drawn with depends on its place alone."""
    uniform = Noise([seed, stream], probabilities.shape, lambda rng, shape: rng.random(shape, dtype=np.float32))
    return _settled(Computed(probabilities, lambda rows, places: (uniform(places) < rows).view(np.uint8), np.uint8))


def _with_noise(noise: Dequantize, values: Values, split: str, seed: int) -> Values:
    steps = Noise([seed, STREAMS[split]], values.shape, lambda rng, shape: rng.integers(NOISE_STEPS, size=shape))

    def noisy(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        x, u = (torch.from_numpy(some.astype(np.float32)) for some in (rows, steps(places)))
        return noise.with_steps(x, u).numpy()

    return _settled(Computed(values, noisy, np.float32))


def _settled(values: Values) -> Values:
    """Values in memory, computed once, unless they are too large for it."""
    if values.is_streamed:
        return values
    array = np.empty(values.shape, values.dtype)
    for places in parts_of(values.shape):
        array[places] = values.read(places)
    return Held(array)


TREATMENTS: dict[str | None, Callable[[Splits, Any, int], Treated]] = {  # called with the splits, the number of gray levels and a seed
    None: _kept,
    "half": _half,
    "static": _static,
    "dynamic": _dynamic,
    "dequantize": _dequantized,
}
