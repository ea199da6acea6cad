"""Read verified files of published data sets from a folder, the cache or the network."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import hashlib
from http.client import HTTPException
import os
from pathlib import Path
import struct
from typing import Any
from urllib.request import urlopen

import numpy as np
from tqdm import tqdm

from inference.data.readers import Arrays, read_numpy
from inference.files import replacing_file

FOLDER_VARIABLE = "PYRO_LVM_DATA"
TIMEOUT_SECONDS = 30.0
IDX_TYPES: dict[int, np.dtype] = {0x08: np.dtype(">u1"), 0x0B: np.dtype(">i2")}


@dataclass(frozen=True)
class Remote:
    """One original file: its URLs and its checksum, ``None`` if none is published."""

    urls: tuple[str, ...]
    checksum: str | None = None


@dataclass(frozen=True)
class Source:
    """A published data set: its ``.npz`` file, the checksum of each array, the original files and their parser."""

    file: str
    checksums: dict[str, str]
    remotes: dict[str, Remote]
    parse: Callable[[dict[str, bytes]], Arrays]


def read_source(source: Source, *, folder: str | Path | None = None, download: bool = True) -> Arrays:
    """Read the verified arrays of a published data set from a folder, the cache or its original files, in this order.

    Args:
        source: The data set to read.
        folder: Folder to search first; by default the one named by the environment variable ``PYRO_LVM_DATA``, if any.
        download: Whether to download the original files, and fill the cache, if neither the folder nor the cache has the data set.

    Returns:
        The arrays that have a checksum, by name.

    Raises:
        FileNotFoundError: If the folder does not exist, or the file is not found and ``download`` is false.
        ConnectionError: If an original file cannot be downloaded completely.
        ValueError: If a file is damaged or has unexpected content.
    """
    places = _places(folder)
    path = next((place / source.file for place in places if (place / source.file).is_file()), None)
    if path is not None:
        return verified(read_numpy(path), source.checksums, path)
    if not download:
        raise FileNotFoundError(
            f"{source.file} must be in one of {', '.join(map(str, places))}; found no such file. "
            f"Set {FOLDER_VARIABLE} to the folder that contains it, or pass download=True."
        )
    contents = {name: _fetch_verified(remote, source.file) for name, remote in source.remotes.items()}
    arrays = verified(source.parse(contents), source.checksums, "the downloaded files")
    cache_folder().mkdir(parents=True, exist_ok=True)
    with replacing_file(cache_folder() / source.file) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]  # no array is named allow_pickle
    return arrays


def cache_folder() -> Path:
    """Return the folder of downloaded files, ``$XDG_CACHE_HOME/pyro-lvm`` or ``~/.cache/pyro-lvm``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyro-lvm"


def _places(folder: str | Path | None) -> list[Path]:
    named = folder if folder is not None else os.environ.get(FOLDER_VARIABLE)
    if not named:
        return [cache_folder()]
    if not Path(named).expanduser().is_dir():
        raise FileNotFoundError(f"folder (or {FOLDER_VARIABLE}) must name an existing folder; got {str(named)!r}. Correct it.")
    return [Path(named).expanduser(), cache_folder()]


def verified(arrays: Arrays, checksums: dict[str, str], origin: str | Path) -> Arrays:
    """Return the arrays that have a checksum, after verifying it for each of them."""
    for name, expected in checksums.items():
        got = checksum(arrays[name], like=expected) if name in arrays else "no such array"
        if got != expected:
            raise ValueError(
                f"array {name!r} of {origin} must have checksum {expected}; got {got}. "
                "It is damaged or of another version: delete or replace the file."
            )
    return {name: arrays[name] for name in checksums}


def checksum(content: bytes | np.ndarray, *, like: str) -> str:
    """Compute the checksum ``"algorithm:digest"`` of bytes, or of an array in idx form, with the algorithm of ``like``."""
    algorithm = like.partition(":")[0]
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for part in _idx_parts(content) if isinstance(content, np.ndarray) else [content]:
        digest.update(part)
    return f"{algorithm}:{digest.hexdigest()}"


def _idx_parts(array: np.ndarray) -> Iterator[Any]:
    # The md5 sums published for MNIST and Fashion-MNIST are those of idx files. Code 0, for any other dtype, matches none of them.
    dtype = array.dtype.newbyteorder(">")
    code = next((code for code, known in IDX_TYPES.items() if known == dtype), 0)
    yield struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    yield np.ascontiguousarray(array, dtype=dtype)


def fetch(url: str) -> bytes:
    """Download the bytes at ``url`` with a progress bar, if there is a terminal."""
    with urlopen(url, timeout=TIMEOUT_SECONDS) as response:
        total, name = int(response.headers.get("Content-Length", 0)) or None, url.rpartition("/")[2]
        with tqdm(total=total, desc=name, unit="B", unit_scale=True, leave=False, disable=None) as progress:
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
        f"{file} could not be downloaded ({'; '.join(failures)}). "
        f"Try again later, or set {FOLDER_VARIABLE} to a folder that contains {file}."
    )
