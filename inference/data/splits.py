"""Split the rows of a data set, and choose random ones."""

import numpy as np
import torch
from torch import Tensor

from inference.data.readers import Arrays
from pyro_lvm.pair import Batch
from pyro_lvm.rows.values import Chosen, Values

SPLITS = ("train", "valid", "test")
Fractions = dict[str, float | None]


def cut_rows(num_rows: int, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """Split row numbers at random: ``sizes`` of them by split, and the rest as ``"train"``."""
    return cut_in_order(np.random.default_rng(seed).permutation(num_rows), sizes)


def cut_in_order(values: np.ndarray, sizes: dict[str, int]) -> Arrays:
    """Split ``values`` in order: first those of ``"train"``, then ``sizes`` of them by split."""
    train, *others = np.split(values, np.cumsum([len(values) - sum(sizes.values()), *sizes.values()])[:-1])
    return {"train": train, **dict(zip(sizes, others, strict=True))}


def own_splits(name: str, values: dict[str, Values], fractions: Fractions, seed: int) -> tuple[dict[str, Values], str]:
    """Return rows by split, cut at random where splits are missing, and how they are split, in words.

    Raises:
        ValueError: If arrays have other names than splits, fractions are given of splits that there are, or leave no rows.
    """
    if len(values) == 1:
        given = {"train": next(iter(values.values()))}
    elif set(values) in ({"train", "test"}, set(SPLITS)):
        given = values
    else:
        raise ValueError(
            f"{name} must hold one array, or train, test and possibly valid; got {', '.join(values)}. Save it with these names only."
        )
    refuse_fractions("the file has that split", **{s: fractions[s] for s in given if s != "train"})
    missing = {split: fractions[split] for split in SPLITS if split not in given}
    if not missing:
        return given, "split as given"
    rows = cut_rows(len(given["train"]), split_sizes(name, missing, len(given["train"]), "row"), seed)
    drawn: dict[str, Values] = {split: Chosen(given["train"], chosen) for split, chosen in rows.items()}
    return given | drawn, f"{' and '.join(missing)} drawn from its rows with seed {seed}"


def split_sizes(name: str, fractions: Fractions, total: int, unit: str) -> dict[str, int]:
    """Return the sizes of the splits that are held out, by default a tenth of all each.

    Raises:
        ValueError: If no rows are left to one.
    """
    sizes = {split: round((0.1 if share is None else share) * total) for split, share in fractions.items()}
    if min(sizes.values()) < 1 or sum(sizes.values()) >= total:
        raise ValueError(
            f"{name}: the fractions must leave at least one {unit} to each split; got sizes {sizes} of {total} {unit}s. "
            f"Change valid_fraction and test_fraction, or give more {unit}s."
        )
    return sizes


def refuse_fractions(reason: str, **fractions: float | None) -> None:
    """Refuse fractions of splits that come with the data.

    Raises:
        ValueError: If one is given.
    """
    for split, fraction in fractions.items():
        if fraction is not None:
            raise ValueError(f"{split}_fraction must be left out, as {reason}; got {fraction}. Leave it out.")


def random_batch(batch: Batch, count: int, *, seed: int) -> Batch:
    """Choose at most ``count`` random rows of a batch, the same of each tensor."""
    return tuple(random_rows(x, count, seed=seed) for x in batch)


def random_rows(x: Tensor, count: int, *, seed: int) -> Tensor:
    """Choose at most ``count`` random rows of ``x``; in sorted data, the first rows would all be of one class."""
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:count]]
