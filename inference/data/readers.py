"""Read files of NumPy arrays, tables and text."""

from collections.abc import Callable, Sequence
import csv
import math
from pathlib import Path
import struct
from typing import IO, TYPE_CHECKING, Any, NamedTuple
import warnings
import zipfile

import numpy as np

from pyro_lvm.rows.stored import FULL, Scratch, Stored
from pyro_lvm.rows.values import MOST_HELD, Values, parts_of

if TYPE_CHECKING:
    import pandas as pd

Arrays = dict[str, np.ndarray]

_HARMLESS = 2**28  # bytes of an array, which are unpacked whatever their compressed size
_LENGTHS = 26  # bytes of a local file header in an archive before the lengths of the name and the extra field
_GAPS = ("", "NA")  # fields of a table that stand for missing numbers, beside what float() takes for NaN
_LARGEST_RATIO = 250  # of an array's size to its compressed size; binarized MNIST in float64 has about 80


class Reading(NamedTuple):
    """How arrays are read: those of more than ``most_held`` bytes stay in their file, or are unpacked to another if they are compressed."""

    most_held: int = MOST_HELD
    scratch: Callable[[], Scratch] = Scratch
    stays_open: bool = True


USUAL = Reading()


def read_numpy(path: Path, how: Reading = USUAL) -> dict[str, Any]:
    """Read the arrays of a ``.npz`` file by name, or that of a ``.npy`` file as ``"data"``; pickles are refused.

    Large ones are :class:`~pyro_lvm.rows.values.Values`, whose rows are read when they are needed, and the others arrays.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                file.seek(0)
                return {"data": _read_array(path, file, 0, how)}
            file.seek(0)
            with zipfile.ZipFile(file) as archive:
                _check_sizes(archive)
                return {_name(member): _read_member(path, archive, member, how) for member in archive.infolist()}
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes raise nearly anything: TokenError, SyntaxError, NotImplementedError, zlib.error, ...
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise ValueError(
            f"{path} must hold plain numeric arrays; it is damaged or holds pickled objects, which are never "
            f"loaded: {error}. Save the arrays again with numpy.save or numpy.savez."
        ) from error


def _name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def _read_array(path: Path, file: IO[bytes], offset: int, how: Reading) -> np.ndarray | Values:
    """Read the array that begins at a byte of a file, or where its rows are if it is large."""
    file.seek(offset)
    shape, is_by_column, dtype = _header(file)
    if _is_held(shape, dtype, how):
        file.seek(offset)
        return np.lib.format.read_array(file, allow_pickle=False)
    if not is_by_column:
        return Stored(path, file.tell(), shape, dtype, name=str(path), stays_open=how.stays_open)
    columns = np.memmap(path, dtype, "r", file.tell(), shape, order="F")
    return how.scratch().unpacked((columns[places] for places in parts_of(shape)), str(path))


def _read_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, how: Reading) -> np.ndarray | Values:
    with archive.open(member) as file:
        shape, is_by_column, dtype = _header(file)
        if _is_held(shape, dtype, how) or is_by_column:
            file.seek(0)
            array = np.lib.format.read_array(file, allow_pickle=False)
            return array if _is_held(shape, dtype, how) else how.scratch().unpacked([array], f"{path}: {member.filename}")
        parts = (np.frombuffer(file.read(_size(some, shape, dtype)), dtype).reshape(len(some), *shape[1:]) for some in parts_of(shape))
        if member.compress_type != zipfile.ZIP_STORED:
            return how.scratch().unpacked(parts, f"{path}: {member.filename}")
        for _ in parts:  # read once, as only the end of an archive's member shows whether its checksum is right
            pass
    with path.open("rb") as plain:
        plain.seek(member.header_offset + _LENGTHS)
        name, extra = struct.unpack("<HH", plain.read(4))
        return _read_array(path, plain, member.header_offset + _LENGTHS + 4 + name + extra, how)


def _is_held(shape: tuple[int, ...], dtype: np.dtype, how: Reading) -> bool:
    return dtype.hasobject or not shape or math.prod(shape) * dtype.itemsize <= how.most_held


def _size(places: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> int:
    return len(places) * math.prod(shape[1:]) * dtype.itemsize


def _check_sizes(archive: zipfile.ZipFile) -> None:
    """Refuse arrays that unpack to far more than arrays of data do, before memory is asked for."""
    for member in archive.infolist():
        if member.file_size > max(_HARMLESS, _LARGEST_RATIO * member.compress_size):
            raise ValueError(f"{member.filename} is {member.compress_size} bytes long and unpacks to {member.file_size}")
        with archive.open(member) as file:
            shape, _, dtype = _header(file)
        if math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename} should have shape {shape} of {dtype}, more than its {member.file_size} bytes hold")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """The shape, whether it is stored by column, and the dtype."""
    read = np.lib.format.read_array_header_1_0 if np.lib.format.read_magic(file) == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def read_csv(path: Path, *, has_gaps: bool = False) -> Arrays:
    """Read a table of comma-separated numbers, whose first line may name the columns; with ``has_gaps``, empty fields and NA become NaN."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy only warns of an empty table; load_data refuses it
            skipped = _num_header_lines(_first_line(file, has_gaps=has_gaps))
            file.seek(0)
            convert = _number_or_gap if has_gaps else None
            rows = np.loadtxt(file, delimiter=",", quotechar='"', comments=None, skiprows=skipped, ndmin=2, converters=convert)
    except ValueError as error:
        raise ValueError(f"{path} must be a table of numbers, separated by commas; {error}") from error
    if rows.size == 0:
        raise ValueError(f"{path} must be a table of numbers, not empty; it has no row. Give some rows.")
    return {"data": rows}  # [N, D]


def are_names(fields: Sequence[str]) -> bool:
    """Return whether the fields of a line are names: none is a number or stands for a missing one."""
    return not any(is_number(field) or field.strip() in _GAPS for field in fields)


def _first_line(file: IO[str], *, has_gaps: bool) -> list[str]:
    fields = next(csv.reader(file), [])
    are_numbers = any(map(is_number, fields))
    return ["nan" if has_gaps and are_numbers and field.strip() in _GAPS else field for field in fields]


def _number_or_gap(field: str) -> float:
    return math.nan if field.strip().strip('"') in _GAPS else float(field)


def _num_header_lines(fields: list[str]) -> int:
    if len(fields) > 2 and fields == [str(i) for i in range(len(fields))]:
        raise ValueError("its first line numbers the columns from 0. Name the columns, or drop that line.")
    if len(fields) > 1 and not fields[0].strip():
        raise ValueError("its first field is empty, like the name of a pandas index. Save it with index=False.")
    numbers = [field for field in fields if is_number(field)]
    if numbers and len(numbers) < len(fields):
        words = [field for field in fields if field not in numbers]
        raise ValueError(
            f"its first line has words, {_some(words)}, and numbers, {_some(numbers)}, so that it is neither names of columns nor data. "
            "Name every column by a word, or fill in the missing numbers."
        )
    return 1 if fields and not numbers else 0


def _some(fields: list[str]) -> str:
    return ", ".join(map(repr, fields[:3])) + (", ..." if len(fields) > 3 else "")


def is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def parquet_frame(path: Path) -> "pd.DataFrame":
    """Read a Parquet table.

    Raises:
        ValueError: If it is damaged.
        ImportError: If pyarrow is missing.
    """
    import pandas as pd

    try:
        return _with_whole_numbers(pd.read_parquet(path, engine="pyarrow"), path)
    except ImportError as error:
        raise ImportError(f"reading {path} needs pyarrow. Run: pip install pyro-lvm[parquet]") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} must be a Parquet table; {error}") from error


def _with_whole_numbers(frame: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    """A Parquet table whose columns of whole numbers with gaps are of a dtype that has both; pandas reads them as float64."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    whole = {field.name for field in parquet.read_schema(path) if pa.types.is_integer(field.type)}
    names = [name for name in frame.columns if name in whole and frame[name].isna().any()] if frame.columns.is_unique else []
    if names:
        frame[names] = pd.read_parquet(path, engine="pyarrow", columns=names, dtype_backend="numpy_nullable")
    return frame


def read_parquet(path: Path) -> Arrays:
    """Read a Parquet table of numbers."""
    import pandas as pd

    frame = parquet_frame(path)
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
