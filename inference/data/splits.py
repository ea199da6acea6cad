"""Rows of a data set: its splits, and random ones."""

import numpy as np
import torch
from torch import Tensor

from inference.data.readers import Arrays

SPLITS = ("train", "valid", "test")


def cut_rows(num_rows: int, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """Row numbers of the splits: ``sizes`` of them by permutation, and the rest as ``"train"``."""
    return cut_in_order(np.random.default_rng(seed).permutation(num_rows), sizes)


def cut_in_order(values: np.ndarray, sizes: dict[str, int]) -> Arrays:
    """The splits of ``values``: the first as ``"train"``, and ``sizes`` of them at the end, in that order."""
    train, *others = np.split(values, np.cumsum([len(values) - sum(sizes.values()), *sizes.values()])[:-1])
    return {"train": train, **dict(zip(sizes, others, strict=True))}


def random_rows(x: Tensor, count: int, *, seed: int) -> Tensor:
    """At most ``count`` random rows of ``x``; the first ones would be of one class where data are sorted."""
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:count]]
