"""What is given to a pair besides the observations: labels and covariates, taken from what a data set or a file holds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from inference.data.conversion import checked
from inference.data.published.datasets import Content
from inference.data.readers import Arrays
from inference.data.splits import SPLITS
from pyro_lvm.rows.values import Values

MISSING = -1  # a label that is not known
MOST_CATEGORIES = 100
LARGEST_TOTAL = 2**24
LABELS = "labels"
TOTAL = "total"  # the sum of a row of counts, unless the data hold something of this name


def with_labels(content: Content, conditions: Sequence[str]) -> Content:
    """Return a published data set whose labels are given, if they are asked for.

    Raises:
        ValueError: If something else is asked for, or there are no labels.
    """
    refuse_conditions(content.name, conditions, [] if content.labels is None else [LABELS])
    return replace(content, given={name: dict(content.labels or {}) for name in conditions})


def without_conditions(name: str, arrays: Mapping[str, Any], conditions: Sequence[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the arrays of a file without those that are conditions, and these by name, each as a file of it alone would hold them.

    A condition y is an array y, beside a single array of data, or arrays train_y and test_y beside train and test.

    Raises:
        ValueError: If a condition is not there, or has another number of rows than the data.
    """
    given, rest = {}, dict(arrays)
    names = {other.removeprefix(f"{split}_") for split in SPLITS for other in arrays if other not in SPLITS}
    conditions = held(conditions, names)
    for condition in conditions:
        by_split = {split: rest.pop(f"{split}_{condition}") for split in SPLITS if f"{split}_{condition}" in rest}
        whole = {"data": rest.pop(condition)} if condition in rest and not by_split else {}
        given[condition] = by_split or whole
    refuse_conditions(name, [condition for condition in conditions if not given[condition]], sorted(names) if len(arrays) > 1 else [])
    for condition, parts in given.items():
        _check_rows(f"{name}: {condition}", parts, rest)
    return rest, given


def held(conditions: Sequence[str], names: Collection[str]) -> list[str]:
    """Return the conditions without the total of a row, if it is to be computed: if nothing in the data has its name."""
    return [condition for condition in conditions if condition != TOTAL or TOTAL in names]


def totals(splits: Mapping[str, Values], name: str) -> dict[str, np.ndarray]:
    """Return the total of each row of counts by split, float32 ``[N, 1]``.

    Raises:
        ValueError: If the data are no counts, or a total is too large for float32.
    """
    sums = {split: np.concatenate([_summed(part, name) for part in values.parts()]) for split, values in splits.items()}
    if max(x.max() for x in sums.values()) > LARGEST_TOTAL:
        raise ValueError(f"{name}: the total of a row must be at most 2**24, to be exact in float32. Leave condition {TOTAL!r} out.")
    return {split: x.astype(np.float32) for split, x in sums.items()}


def _summed(rows: np.ndarray, name: str) -> np.ndarray:
    if rows.min() < 0 or (rows.dtype.kind == "f" and not np.array_equal(rows, np.rint(rows))):
        raise ValueError(
            f"{name}: condition {TOTAL!r} is the sum of each row, which must hold counts, whole numbers from 0 on; got values from "
            f"{rows.min():g} to {rows.max():g}. Leave it out, or give a column of this name."
        )
    return rows.reshape(len(rows), -1).sum(1, dtype=np.float64)[:, None]


def _check_rows(name: str, parts: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    theirs = {split if len(data) > 1 else "data": len(x) for split, x in data.items()}
    ours = {split: len(x) for split, x in parts.items()}
    if ours != theirs:
        raise ValueError(f"{name} must have one row for each datum, {theirs}; got {ours}. Save one value for each row of the data.")


def refuse_conditions(name: str, conditions: Sequence[str], known: Sequence[str]) -> None:
    """Refuse conditions that data do not hold.

    Raises:
        ValueError: If there are any, or the same one twice; the error lists what the data hold.
    """
    for condition in conditions:
        if condition not in known:
            holds = f"be one of {', '.join(known)}" if known else "be left out, as nothing else in the data has a name"
            raise ValueError(f"{name}: condition must {holds}; got {condition!r}. Correct it.")
    if len(set(conditions)) < len(conditions):
        raise ValueError(f"condition must name each once; got {', '.join(conditions)}. Leave one out.")


def given_by_name(content: Content, labelled: int | None, seed: int) -> tuple[dict[str, Arrays], dict[str, int], str]:
    """Return conditions by name and split, the number of categories of those that are categories, and a description of all of them.

    Raises:
        ValueError: If values are no finite numbers, or labels are to be kept of anything but one condition with categories.
    """
    given: dict[str, Arrays] = {}
    num_categories: dict[str, int] = {}
    said = []
    for name, splits in content.given.items():
        given[name], count = as_condition(dict(splits), f"{content.name}: {name}")
        num_categories |= {} if count is None else {name: count}
        said.append(f"{name} ({count} categories)" if count else f"{name} ({given[name][SPLITS[0]].shape[1]} covariates)")
    if labelled is not None:
        if len(given) != 1 or not num_categories:
            raise ValueError(
                f"labelled needs one condition with categories; got {', '.join(said) or 'none'}. Give condition, or leave it out."
            )
        (name,) = given
        train = keep_some(given[name]["train"], labelled, seed=seed)
        given[name] = {split: np.full_like(x, MISSING) for split, x in given[name].items()} | {"train": train}
        said.append(f"known for {labelled} of the training data alone")
    return given, num_categories, f"; given {', '.join(said)}" if said else ""


def as_condition(splits: dict[str, np.ndarray], name: str) -> tuple[dict[str, np.ndarray], int | None]:
    """Read a condition by split, ``[N]`` or ``[N, *C]``, as categories or covariates.

    Whole numbers from 0 to 99, ``[N]``, of which some may be missing, -1, are categories; all other numbers are covariates.

    Args:
        splits: The values by split.
        name: What they are called in errors.

    Returns:
        Categories, int64 ``[N]``, and their number; or covariates, float32 ``[N, 1]`` or ``[N, *C]``, and None.

    Raises:
        ValueError: If they are no numbers or not finite.
    """
    values = {split: checked(array, f"{name}: {split}").whole() for split, array in splits.items()}
    ends = [bound for array in values.values() for bound in (float(array.min()), float(array.max()))]
    is_whole = all(array.ndim == 1 and np.array_equal(array, np.rint(array)) for array in values.values())
    if is_whole and min(ends) >= MISSING and 1 <= max(ends) < MOST_CATEGORIES:
        return {split: array.astype(np.int64) for split, array in values.items()}, int(max(ends)) + 1
    return {split: array.astype(np.float32).reshape(len(array), -1) if array.ndim == 1 else array for split, array in values.items()}, None


def keep_some(labels: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Keep a number of labels ``[N]``, as evenly over the categories as their number allows, at random rows; the others are missing.

    Raises:
        ValueError: If there are fewer labels.
    """
    if count > np.count_nonzero(labels != MISSING):
        known = np.count_nonzero(labels != MISSING)
        raise ValueError(f"labelled must be at most {known}, the number of training data with a label; got {count}. Keep fewer.")
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[labels[order] != MISSING]
    turns = np.empty(len(order), dtype=np.int64)  # the how-manieth of its category each row is
    for category in np.unique(labels[order]):
        own = labels[order] == category
        turns[own] = np.arange(np.count_nonzero(own))
    rows = order[np.argsort(turns, kind="stable")[:count]]
    kept = np.full_like(labels, MISSING)
    kept[rows] = labels[rows]
    return kept
