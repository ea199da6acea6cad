"""Read files of NumPy arrays, tables and text."""

import csv
from pathlib import Path
import warnings
import zipfile
import zlib

import numpy as np

Arrays = dict[str, np.ndarray]


def read_numpy(path: Path) -> Arrays:
    """Read the arrays of a ``.npz`` file by name, or the array of a ``.npy`` file as ``"data"``; pickles are refused."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {"data": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} must hold plain numeric arrays; it is damaged or holds pickled objects, which are never "
            f"loaded: {error}. Save the arrays again with numpy.save or numpy.savez."
        ) from error


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
    return 0 if all(map(_is_number, fields)) else 1


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
