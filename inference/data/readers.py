"""Read files of NumPy arrays, tables and text."""

import csv
import math
from pathlib import Path
from typing import IO
import warnings
import zipfile

import numpy as np

Arrays = dict[str, np.ndarray]

_HARMLESS = 2**28  # bytes of an array, which are unpacked whatever their compressed size
_LARGEST_RATIO = 250  # of an array's size to its compressed size; binarized MNIST in float64 has about 80


def read_numpy(path: Path) -> Arrays:
    """Read the arrays of a ``.npz`` file by name, or map the array of a ``.npy`` file into memory as ``"data"``; pickles are refused."""
    try:
        with path.open("rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                return {"data": np.lib.format.open_memmap(path, mode="r")}
            file.seek(0)
            with zipfile.ZipFile(file) as archive:
                _check_sizes(archive)
            file.seek(0)
            return dict(np.load(file, allow_pickle=False))
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes raise nearly anything: TokenError, SyntaxError, NotImplementedError, zlib.error, ...
        raise ValueError(
            f"{path} must hold plain numeric arrays; it is damaged or holds pickled objects, which are never "
            f"loaded: {error}. Save the arrays again with numpy.save or numpy.savez."
        ) from error


def _check_sizes(archive: zipfile.ZipFile) -> None:
    """Refuse arrays that unpack to far more than arrays of data do, before memory is asked for."""
    for member in archive.infolist():
        if member.file_size > max(_HARMLESS, _LARGEST_RATIO * member.compress_size):
            raise ValueError(f"{member.filename} is {member.compress_size} bytes long and unpacks to {member.file_size}")
        with archive.open(member) as file:
            shape, dtype = _header(file)
        if math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename} should have shape {shape} of {dtype}, more than its {member.file_size} bytes hold")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    read = np.lib.format.read_array_header_1_0 if np.lib.format.read_magic(file) == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def read_csv(path: Path) -> Arrays:
    """Read a table of comma-separated numbers, whose first line may name the columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy only warns of an empty table; load_data refuses it
            skipped = _num_header_lines(next(csv.reader(file), []))
            file.seek(0)
            rows = np.loadtxt(file, delimiter=",", quotechar='"', comments=None, skiprows=skipped, ndmin=2)
            return {"data": rows}  # [N, D]
    except ValueError as error:
        raise ValueError(f"{path} must be a table of numbers, separated by commas; {error}") from error


def _num_header_lines(fields: list[str]) -> int:
    if len(fields) > 2 and fields == [str(i) for i in range(len(fields))]:
        raise ValueError("its first line numbers the columns from 0. Name the columns, or drop that line.")
    if len(fields) > 1 and not fields[0].strip():
        raise ValueError("its first field is empty, like the name of a pandas index. Save it with index=False.")
    numbers = [field for field in fields if _is_number(field)]
    if numbers and len(numbers) < len(fields):
        words = [field for field in fields if field not in numbers]
        raise ValueError(
            f"its first line has words, {_some(words)}, and numbers, {_some(numbers)}, so that it is neither names of columns nor data. "
            "Name every column by a word, or fill in the missing numbers."
        )
    return 1 if fields and not numbers else 0


def _some(fields: list[str]) -> str:
    return ", ".join(map(repr, fields[:3])) + (", ..." if len(fields) > 3 else "")


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def read_parquet(path: Path) -> Arrays:
    """Read a Parquet table of numbers."""
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
    """Read a UTF-8 file; line endings become newlines, and a byte order mark is dropped."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8; {error}. Save it in that encoding.") from error
