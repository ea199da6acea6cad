"""Data in several files: the .npy and .npz files of a folder or a glob, whose rows follow one another."""

from contextlib import suppress
from functools import cache
import glob
from pathlib import Path
import zipfile

import numpy as np

from inference.data.readers import USUAL, Reading, read_numpy
from pyro_lvm.rows.stored import Scratch
from pyro_lvm.rows.values import MOST_HELD, Held, Joined, Values

SUFFIXES = (".npy", ".npz")
_MOST_OPEN = 256  # files that are kept open


def shards_of(source: str | Path) -> list[Path] | None:
    """The shards that a folder or a glob names, in order of their names; None if the source is neither.

    Raises:
        FileNotFoundError: If there are none.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        found = list(path.iterdir())
    elif glob.has_magic(str(path)) and not path.exists():
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    else:
        return None
    shards = sorted((file for file in found if file.suffix in SUFFIXES and file.is_file()), key=str)
    if not shards:
        raise FileNotFoundError(f"source must name at least one .npy or .npz file; {str(source)!r} names none. Correct the folder or glob.")
    return shards


def is_there(source: str | Path) -> bool:
    """Return whether a source is a file or a folder, or a glob that names any."""
    return Path(source).expanduser().exists() or bool(glob.glob(str(Path(source).expanduser()), recursive=True))


def read_shards(paths: list[Path]) -> dict[str, np.ndarray | Values]:
    """Read the arrays of shards by name and join those of each name in the order of the shards.

    Raises:
        ValueError: If shards differ in the names of their arrays, in dtype or in the shape of a row.
    """
    how, shards = _reading(paths), []
    for path in paths:
        shards.append(_named(read_numpy(path, how)))
        _check_alike(paths[0], shards[0], path, shards[-1])
    joined = {name: Joined([_values(shard[name]) for shard in shards]) for name in shards[0]}
    is_small = sum(values.size * values.width for values in joined.values()) <= MOST_HELD
    return {name: values.whole() if is_small else values for name, values in joined.items()}


def _reading(paths: list[Path]) -> Reading:
    if sum(map(_size, paths)) <= MOST_HELD:
        return USUAL
    return Reading(most_held=0, scratch=cache(Scratch), stays_open=len(paths) <= _MOST_OPEN)


def _size(path: Path) -> int:
    """Bytes of a shard's arrays in memory; those of the file where it is damaged, which is refused when it is read."""
    with suppress(Exception), zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())
    return path.stat().st_size


def _named(arrays: dict) -> dict:
    """Arrays by name; the name of a single array does not matter."""
    return {"data": next(iter(arrays.values()))} if len(arrays) == 1 else arrays


def _values(array: np.ndarray | Values) -> Values:
    return array if isinstance(array, Values) else Held(array)


def _check_alike(first: Path, expected: dict, path: Path, found: dict) -> None:
    ours, theirs = _kinds(expected), _kinds(found)
    if ours != theirs:
        raise ValueError(
            f"shards must hold arrays of the same names, dtypes and shapes of a row; {first} holds {_said(ours)}, and {path} "
            f"holds {_said(theirs)}. Save them alike."
        )


def _kinds(arrays: dict) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (str(array.dtype), tuple(array.shape[1:])) for name, array in arrays.items()}


def _said(kinds: dict[str, tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name}: {dtype} {shape}" for name, (dtype, shape) in kinds.items())
