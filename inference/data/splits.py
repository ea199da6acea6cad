"""Split the rows of a data set, and choose random ones."""

import numpy as np
import torch
from torch import Tensor

from inference.data.readers import Arrays
from pyro_lvm.pair import Batch

SPLITS = ("train", "valid", "test")


def cut_rows(num_rows: int, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """Split row numbers at random: ``sizes`` of them by split, and the rest as ``"train"``."""
    return cut_in_order(np.random.default_rng(seed).permutation(num_rows), sizes)


def cut_in_order(values: np.ndarray, sizes: dict[str, int]) -> Arrays:
    """Split ``values`` in order: first those of ``"train"``, then ``sizes`` of them by split."""
    train, *others = np.split(values, np.cumsum([len(values) - sum(sizes.values()), *sizes.values()])[:-1])
    return {"train": train, **dict(zip(sizes, others, strict=True))}


def random_batch(batch: Batch, count: int, *, seed: int) -> Batch:
    """Choose at most ``count`` random rows of a batch, the same of each tensor."""
    return tuple(random_rows(x, count, seed=seed) for x in batch)


def random_rows(x: Tensor, count: int, *, seed: int) -> Tensor:
    """Choose at most ``count`` random rows of ``x``; in sorted data, the first rows would all be of one class."""
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:count]]
