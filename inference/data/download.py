"""Verified files of published sets, in a folder, the cache or the network."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import hashlib
from http.client import HTTPException
import os
from pathlib import Path
import struct
from urllib.request import urlopen

import numpy as np
from tqdm import tqdm

from inference.data.readers import Arrays, read_numpy
from inference.files import replacing_file

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
    cache_folder().mkdir(parents=True, exist_ok=True)
    with replacing_file(cache_folder() / source.file) as temporary:
        np.savez_compressed(temporary, **arrays)
    return arrays


def cache_folder() -> Path:
    """The folder that downloads are kept in, ``$XDG_CACHE_HOME/pyro-lvm`` or ``~/.cache/pyro-lvm``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyro-lvm"


def _places(folder: str | Path | None) -> list[Path]:
    named = folder if folder is not None else os.environ.get(FOLDER_VARIABLE)
    if not named:
        return [cache_folder()]
    if not Path(named).expanduser().is_dir():
        raise FileNotFoundError(f"folder (or {FOLDER_VARIABLE}) must name an existing folder; got {str(named)!r}. Correct it.")
    return [Path(named).expanduser(), cache_folder()]


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
