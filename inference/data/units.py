"""A warning of validation data in other units than the training data."""

from typing import NamedTuple

import torch
from torch import Tensor

from inference.data.batches import Batches, TensorBatches, first_rows
from pyro_lvm.checks import warn_caller

_FACTOR = 10.0  # between two ranges or spreads; between two means, in ranges
_MOST_VALUES = 2**20  # looked at


class Units(NamedTuple):
    """Where the numbers of a tensor lie: smallest, largest, mean, mean distance from the mean, and width of the middle nine tenths."""

    low: float
    high: float
    mean: float
    spread: float
    middle: float


def warn_of_other_units(train: Batches, valid: Batches | None) -> None:
    """Warn if training data, as the pair sees them, and validation data plainly are in different units.

    They are if the means lie ten ranges apart, or if range, mean distance from the mean and the width of the middle nine tenths all
    differ by a factor of 10: the first two also do so by chance where tails are heavy, and the last may be zero where most values are.
    """
    if valid is None:
        return
    for place, (seen, held_out) in enumerate(zip(_seen(train), _seen(valid), strict=False)):
        ours, theirs = units_of(seen), units_of(held_out)
        if ours is not None and theirs is not None and are_different(ours, theirs):
            warn_caller(
                f"argument {place} of the validation data seems to be in other units than that of the training data: {_described(theirs)} "
                f"instead of {_described(ours)} in training, after the transform if there is one. Scale both alike, or the validation "
                "loss chooses the wrong weights."
            )


def units_of(x: Tensor) -> Units | None:
    """Return where the finite numbers of a tensor lie, or None if it has none."""
    x = x[:: -(-x.numel() // _MOST_VALUES)].double()
    x = x[x.isfinite()]
    if len(x) == 0:
        return None
    low, high = x.aminmax()
    mean = x.mean()
    ends = x.flatten().quantile(torch.tensor([0.05, 0.95], dtype=x.dtype, device=x.device))
    return Units(float(low), float(high), float(mean), float((x - mean).abs().mean()), float(ends[1] - ends[0]))


def are_different(first: Units, second: Units) -> bool:
    """Return whether two sets of numbers are plainly in different units."""
    ranges = [units.high - units.low for units in (first, second)]
    if min(*ranges, first.spread, second.spread) <= 0:
        return False  # a constant has no units
    is_far = abs(first.mean - second.mean) > _FACTOR * max(ranges)
    narrow, wide = sorted((first, second), key=lambda units: units.spread)
    is_wider = wide.spread > _FACTOR * narrow.spread and wide.high - wide.low > _FACTOR * (narrow.high - narrow.low)
    return is_far or (is_wider and (min(narrow.middle, wide.middle) == 0 or wide.middle > _FACTOR * narrow.middle))


def _seen(batches: Batches) -> tuple[Tensor, ...]:
    """All rows if they are at hand and the pair sees them as they are, and otherwise a batch."""
    if isinstance(batches, TensorBatches) and batches.suit.transform is None:
        return batches.tensors
    return first_rows(batches)


def _described(units: Units) -> str:
    return f"from {units.low:.3g} to {units.high:.3g} with mean {units.mean:.3g}"
