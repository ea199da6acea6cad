"""Where data come from: NumPy files, tables and text, and verified files in a folder, the cache or the network."""

from collections.abc import Callable, Iterator
import csv
from dataclasses import dataclass
import hashlib
from http.client import HTTPException
import os
from pathlib import Path
import struct
import tempfile
from urllib.request import urlopen
import warnings
import zipfile
import zlib

import numpy as np
from tqdm import tqdm

Arrays = dict[str, np.ndarray]

FOLDER_VARIABLE = "PYRO_LVM_DATA"
TIMEOUT_SECONDS = 30.0
IDX_TYPES = {0x08: np.dtype(">u1"), 0x0B: np.dtype(">i2")}


@dataclass(frozen=True)
class Remote:
    """One original file: where it lies, and its checksum, ``None`` where none is published."""

    urls: tuple[str, ...]
    checksum: str | None = None


@dataclass(frozen=True)
class Source:
    """A published set: its ``.npz`` file, the checksum of each array, the original files and their parser."""

    file: str
    checksums: dict[str, str]
    remotes: dict[str, Remote]
    parse: Callable[[dict[str, bytes]], Arrays]


def read_source(source: Source, *, folder: str | Path | None = None, download: bool = True) -> Arrays:
    """Verified arrays of a published set: from a folder, else the cache, else its original files.

    Args:
        source: The set to read.
        folder: Where to look first; by default the folder that the variable ``PYRO_LVM_DATA`` names, if any.
        download: Whether to fetch the original files, and fill the cache, when no place has the set.

    Returns:
        The arrays that have a checksum, by name.

    Raises:
        FileNotFoundError: If the folder does not exist, or no place has the file and ``download`` is off.
        ConnectionError: If an original file cannot be had whole.
        ValueError: If a file is damaged or holds something else.
    """
    places = _places(folder)
    path = next((place / source.file for place in places if (place / source.file).is_file()), None)
    if path is not None:
        return verified(read_numpy(path), source.checksums, path)
    if not download:
        raise FileNotFoundError(
            f"{source.file} must lie in one of {', '.join(map(str, places))}; got no such file. "
            f"Set {FOLDER_VARIABLE} to the folder that holds it, or pass download=True."
        )
    contents = {name: _fetch_verified(remote, source.file) for name, remote in source.remotes.items()}
    arrays = verified(source.parse(contents), source.checksums, "the downloaded files")
    save_atomically(cache_folder() / source.file, arrays)
    return arrays


def cache_folder() -> Path:
    """The folder that downloads are kept in, ``$XDG_CACHE_HOME/pyro-lvm`` or ``~/.cache/pyro-lvm``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyro-lvm"


def _places(folder: str | Path | None) -> list[Path]:
    named = folder if folder is not None else os.environ.get(FOLDER_VARIABLE)
    if not named:
        return [cache_folder()]
    if not Path(named).expanduser().is_dir():
        raise FileNotFoundError(
            f"folder (or {FOLDER_VARIABLE}) must name an existing folder; got {str(named)!r}. Correct it."
        )
    return [Path(named).expanduser(), cache_folder()]


def save_atomically(path: Path, arrays: Arrays) -> None:
    """Write a ``.npz`` file that other processes see either whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        np.savez_compressed(Path(scratch) / path.name, **arrays)
        os.replace(Path(scratch) / path.name, path)


def verified(arrays: Arrays, checksums: dict[str, str], origin: str | Path) -> Arrays:
    """The arrays that have a checksum, once each is found to have it."""
    for name, expected in checksums.items():
        got = checksum(arrays[name], like=expected) if name in arrays else "no such array"
        if got != expected:
            raise ValueError(
                f"array {name!r} of {origin} must have checksum {expected}; got {got}. "
                "It is damaged or another version: delete or replace the file."
            )
    return {name: arrays[name] for name in checksums}


def checksum(content: bytes | np.ndarray, *, like: str) -> str:
    """Checksum ``"algorithm:digest"``, by the algorithm of ``like``, of bytes or of an array in idx form."""
    algorithm = like.partition(":")[0]
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for part in _idx_parts(content) if isinstance(content, np.ndarray) else [content]:
        digest.update(part)
    return f"{algorithm}:{digest.hexdigest()}"


def _idx_parts(array: np.ndarray) -> Iterator[bytes | np.ndarray]:
    # The md5 sums published for MNIST and Fashion-MNIST are of idx files; code 0, for no type, matches none.
    dtype = array.dtype.newbyteorder(">")
    code = next((code for code, known in IDX_TYPES.items() if known == dtype), 0)
    yield struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    yield np.ascontiguousarray(array, dtype=dtype)


def fetch(url: str) -> bytes:
    """The bytes at ``url``, with a progress bar."""
    with urlopen(url, timeout=TIMEOUT_SECONDS) as response:
        total, name = int(response.headers.get("Content-Length", 0)) or None, url.rpartition("/")[2]
        with tqdm(total=total, desc=name, unit="B", unit_scale=True, leave=False) as progress:
            chunks = []
            while chunk := response.read(1 << 16):
                chunks.append(chunk)
                progress.update(len(chunk))
    return b"".join(chunks)


def _fetch_verified(remote: Remote, file: str) -> bytes:
    failures = []
    for url in remote.urls:
        try:
            content = fetch(url)
        except (OSError, HTTPException) as error:
            failures.append(f"{url}: {error!r}")
            continue
        got = remote.checksum and checksum(content, like=remote.checksum)
        if got == remote.checksum:
            return content
        failures.append(f"{url}: expected checksum {remote.checksum}, got {got}")
    raise ConnectionError(
        f"{file} must be downloaded, and that failed ({'; '.join(failures)}). "
        f"Try again later, or set {FOLDER_VARIABLE} to a folder that holds {file}."
    )


def read_numpy(path: Path) -> Arrays:
    """Arrays of a ``.npz`` file by name, or that of a ``.npy`` file as ``"data"``; pickles are refused."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {"data": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} must hold plain numeric arrays; it is damaged or holds pickled objects, which are never "
            f"loaded: {error}. Save the arrays anew with numpy.save or numpy.savez."
        ) from error


def read_csv(path: Path) -> Arrays:
    """Rows of a table of comma-separated numbers, whose first line may name the columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty table only warns here; load_data refuses it
            skipped = _num_header_lines(next(csv.reader(file), []))
            file.seek(0)
            rows = np.loadtxt(file, delimiter=",", quotechar='"', comments=None, skiprows=skipped, ndmin=2)
            return {"data": rows}  # [N, D]
    except ValueError as error:
        raise ValueError(f"{path} must be a table of numbers, separated by commas; {error}") from error


def _num_header_lines(fields: list[str]) -> int:
    if len(fields) > 2 and fields == [str(i) for i in range(len(fields))]:
        raise ValueError("its first line counts the columns from 0. Name the columns, or drop that line.")
    if len(fields) > 1 and not fields[0].strip():
        raise ValueError("its first field is empty, as the name of an index is. Save it with index=False.")
    return 0 if all(map(_is_number, fields)) else 1


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def read_parquet(path: Path) -> Arrays:
    """Rows of a Parquet table of numbers."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except ImportError as error:
        raise ImportError(f"reading {path} needs pyarrow. Run: pip install pyro-lvm[parquet]") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} must be a Parquet table; {error}") from error
    words = [str(name) for name, dtype in frame.dtypes.items() if not pd.api.types.is_numeric_dtype(dtype)]
    if words:
        raise ValueError(f"{path} must hold numbers; got columns {', '.join(words)}. Encode or drop these.")
    return {"data": frame.to_numpy(dtype=np.float64, na_value=np.nan)}


def read_text(path: Path) -> str:
    """Text of a UTF-8 file, each line ending in a newline only, without a byte order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8; {error}. Save it in that encoding.") from error
