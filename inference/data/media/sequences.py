"""Sequences of different lengths: padded, with masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SEQUENCES, LENGTHS, MASK = "sequences", "lengths", "mask"


def padded(sequences: Sequence[Any]) -> dict[str, np.ndarray]:
    """Join sequences ``[T_i]`` or ``[T_i, *D]`` to ``sequences``, ``[N, T, *D]`` and 0 after their ends, and their ``lengths``.

    Raises:
        ValueError: If there are none, or they differ in ``*D``.
    """
    arrays = [np.asarray(each) for each in sequences]
    shapes = {array.shape[1:] if array.ndim else None for array in arrays}
    if len(shapes) != 1 or None in shapes:
        raise ValueError(
            f"a list of sequences must hold arrays [T, *D] that differ in T alone; got {len(arrays)} with "
            f"{', '.join(sorted(str(array.shape) for array in arrays)[:3]) or 'none'}. Reshape them."
        )
    lengths = np.array([len(array) for array in arrays])
    joined = np.zeros((len(arrays), max(lengths, default=0), *arrays[0].shape[1:]), np.result_type(*arrays))
    for row, array in zip(joined, arrays, strict=True):
        row[: len(array)] = array
    return {SEQUENCES: joined, LENGTHS: lengths}


def with_masks(name: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the arrays ``sequences`` and ``lengths`` of a file into data and a ``mask``, and keep the others.

    What comes after the end of the longest sequence is cut off, and what comes after the end of another becomes 0, so that the values of
    the padding make no difference.

    Raises:
        ValueError: If lengths are no whole numbers from 1 to T, one for each sequence.
    """
    sequences, lengths = np.asarray(arrays[SEQUENCES]), np.asarray(arrays[LENGTHS])
    T = sequences.shape[1] if sequences.ndim > 1 else 0
    is_whole = lengths.shape == sequences.shape[:1] and lengths.dtype.kind in "iuf" and np.array_equal(lengths, np.rint(lengths))
    if not is_whole or not len(lengths) or lengths.min() < 1 or lengths.max() > T:
        raise ValueError(
            f"{name}: lengths must be a whole number from 1 to {T} for each of the sequences, which have shape {sequences.shape}; got "
            f"shape {lengths.shape}" + (f" from {lengths.min():g} to {lengths.max():g}. " if lengths.size else ". ") + "Correct them."
        )
    longest = int(lengths.max())
    mask = np.arange(longest) < lengths[:, None]  # [N, T]
    sequences = sequences[:, :longest]
    data = np.where(mask.reshape(*mask.shape, *[1] * (sequences.ndim - 2)), sequences, np.zeros((), sequences.dtype))
    others = {key: array for key, array in arrays.items() if key not in (SEQUENCES, LENGTHS)}
    return {"data": data, MASK: mask} | others
