"""New rows read as the data of a fit were: of the same columns and shape, with the same gray levels, alphabet and treatment."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inference.data.alike import MANY, NEW_TABLE, given_alike, read_by_names
from inference.data.columns import some
from inference.data.conversion import as_float32, checked
from inference.data.load import READERS, TEXT, Data
from inference.data.media.images import images_of, read_images
from inference.data.readers import read_csv, read_text
from inference.data.shards import read_shards, shards_of
from inference.data.tables.choice import frame_of
from inference.data.text import encode_like, windows
from inference.data.treatments import Treatment, treat_alike
from inference.new_rows.missing import filled
from inference.numerics import row_slices
from pyro_lvm.arrays import as_tensor, is_array
from pyro_lvm.contract import check_data
from pyro_lvm.modules import eval_mode
from pyro_lvm.pair import Batch
from pyro_lvm.rows.lazy import Rows, plain
from pyro_lvm.rows.values import Chosen, Values
from pyro_lvm.scopes import isolated
from pyro_lvm.structure import known_row_parameters

_CHECKED = 1024  # rows that are checked at once


@dataclass(frozen=True, eq=False)
class NewRows:
    """New rows as a pair takes them.

    Attributes:
        name: Name of the file, or what the source is.
        x: The rows, ``[N, *X]``, float32; NaN in missing cells.
        columns: Names of the columns, if they or those of the data are named.
        source: The numbers before any treatment, ``[N, *X]``, float64; None unless cells may be missing, or if there is a frame.
        frame: The table as it was read, with columns that the pair does not see; None if the data are no table whose columns have kinds.
        given: What the pair is called with after the rows, by name; see :class:`~inference.data.load.Data`.
        note: What else must be said of them; empty if nothing.
    """

    name: str
    x: Tensor = field(repr=False)
    columns: tuple[str, ...] | None = None
    source: np.ndarray | None = field(default=None, repr=False)
    frame: pd.DataFrame | None = field(default=None, repr=False)
    note: str = ""
    given: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def batch(self) -> Batch:
        """What a pair is called with: the rows, then what is given, in its order."""
        return (self.x, *self.given.values())


def read_rows(data: Data, source: Any, *, has_gaps: bool = False) -> Batch:
    """Read all rows of a file or a table as those of a data set were read, in their order: ``encode(pair, *read_rows(data, "new.csv"))``.

    Nothing is found out from the rows. Columns, codes and categories, the highest gray level, the alphabet and the treatment are those of
    the data, and so is what a pair is given besides, which is read from the same source.

    Args:
        data: The data set that the pair was fitted to.
        source: The path of a .npy, .npz, .csv, .parquet or, for text, .txt file, of a folder or glob of arrays; or an array or table.
        has_gaps: Whether cells may be missing, as for :func:`~inference.new_rows.imputing.impute`; they become NaN. Those of a table whose
            columns have kinds always may.

    Returns:
        What a pair is called with: the rows, float32 ``[N, *X]``, then what it is given.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If the source is no path, array or table.
        ValueError: If the rows are not as those of the data; the error names the file, and says what was expected.
    """
    return read_alike(source, data, None, has_gaps=has_gaps).batch


def read_alike(source: Any, data: Data, pair: object, *, has_gaps: bool = False) -> NewRows:
    """Read rows from a file or an array as the test data of a data set were read, in their order.

    Nothing is found out from the new rows: the highest gray level, the categories, the alphabet and the length of a window are those of the
    data. Binarization and noise that are drawn once use the seed of the data.

    Args:
        source: The path of a .npy, .npz, .csv, .parquet or, for text, .txt file, of a folder or glob of arrays; or an array or table.
        data: The data set that the pair was fitted to.
        pair: The pair, whose likelihood must be able to have generated the rows; None if that is not checked.
        has_gaps: Whether cells may be missing: NaN, and in a .csv file empty or NA. Those of a table whose columns have kinds always may,
            if the likelihood leaves them out.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If the source is no path, array or table.
        ValueError: If the file is damaged, or the rows have another width or shape, columns of other names, other
            characters, values that are not among the gray levels, or values outside the support of the likelihood.
    """
    _check_guide(source, pair)
    if data.alphabet is not None:
        return _read_windows(source, data, data.alphabet, pair)
    table = frame_of(source, NEW_TABLE) or _by_places(source, data)
    if table is not None and data.kinds is not None:
        rows = _read_table(*table, data)
        _check_support(rows.name, rows.batch, pair, is_filled=has_gaps)
        return rows
    name, arrays = _read(source) if table is None else _numbers(*table, data)
    columns = data.columns or (None if table is None else tuple(column for column in table[1].columns if column not in data.given))
    array = _only(name, {key: values for key, values in arrays.items() if key not in data.given})
    gaps = _gaps(name, array, has_gaps=has_gaps)
    complete = array if gaps is None else np.where(gaps, 0.0, np.asarray(array))
    values = _reshaped(name, checked(complete, name), data, columns)
    _check_levels(name, values, data.treatment)
    x = _tensor(as_float32(treat_alike(values, data.treatment)))
    if gaps is not None:
        x = plain(x).masked_fill(torch.from_numpy(gaps).reshape(x.shape), torch.nan)
    before = np.asarray(array, np.float64).reshape(x.shape) if has_gaps else None
    rows = NewRows(name, x, columns, before, given=given_alike(name, arrays, data, x))
    _check_support(name, rows.batch, pair)
    return rows


def _by_places(source: Any, data: Data) -> tuple[str, pd.DataFrame] | None:
    """A .csv file without names as a table whose columns are those of the data, in their order, if these have kinds; or None."""
    if data.kinds is None or not isinstance(source, str | Path) or Path(source).suffix != ".csv":
        return None
    name, arrays = _read(source)
    array = _only(name, arrays)
    if array.shape[1] != len(data.kinds):
        raise ValueError(
            f"{name} must have the {len(data.kinds)} columns of {data.name}; got {array.shape[1]}. Name them, or choose columns."
        )
    return name, pd.DataFrame(array, columns=list(data.columns or ()))


def _read_table(name: str, frame: pd.DataFrame, data: Data) -> NewRows:
    values, given = read_by_names(name, frame, data)
    x = torch.from_numpy(values)
    return NewRows(name, x, data.columns, frame=frame, given=given_alike(name, given, data, x))


def _numbers(name: str, frame: pd.DataFrame, data: Data) -> tuple[str, dict[str, Any]]:
    """Return what a table is called, and its numbers by name, with columns that a pair is given as arrays of their own."""
    values, given = read_by_names(name, frame, data)
    return name, {"data": values} | given


def _check_guide(source: Any, pair: object) -> None:
    parameters = [] if pair is None else known_row_parameters(pair)
    if parameters:
        raise ValueError(
            f"{'new rows' if is_array(source) else source} cannot be encoded: the parameters {parameters} of the "
            "guide belong to the rows of the training data, one each. Train a pair whose guide computes its parameters from x."
        )


def _gaps(name: str, array: np.ndarray | Values, *, has_gaps: bool) -> np.ndarray | None:
    """Return which cells are missing, or None if none is; rows that stay in a file are checked as they are read."""
    gaps = np.isnan(array) if isinstance(array, np.ndarray) and array.dtype.kind == "f" else np.zeros(1, bool)
    if has_gaps and isinstance(array, Values):
        raise ValueError(f"{name} is too large for its missing cells to be looked for. Split it into smaller files.")
    if gaps.any() and not has_gaps:
        rows = int(gaps.reshape(len(gaps), -1).any(1).sum())
        raise ValueError(
            f"{name} must have no missing cells; got {int(gaps.sum())} in {rows} rows. Fill them in (impute), or leave these rows out."
        )
    return gaps if gaps.any() else None


def _read(source: Any) -> tuple[str, dict[str, Any]]:
    """Return what rows without names of columns are called, and the arrays by name."""
    if is_array(source):
        return "the new rows", {"data": as_tensor(source, "the new rows").cpu().numpy()}
    if not isinstance(source, str | Path):
        raise TypeError(f"new rows must be a path, an array or a table; got {type(source).__name__}. Try numpy.asarray.")
    images = images_of(source)
    if images is not None:
        return str(source), {"data": read_images(images)}
    path, shards = Path(source).expanduser(), shards_of(source)
    if shards is not None:
        return str(source), read_shards(shards)
    _check_file(path, str(source), tuple(READERS))
    return path.name, read_csv(path, has_gaps=True) if path.suffix == ".csv" else READERS[path.suffix](path)


def _check_file(path: Path, source: str, suffixes: Sequence[str]) -> None:
    if path.suffix not in suffixes:
        raise ValueError(f"new rows must be in a file that ends in {', '.join(suffixes)}, as the run's data need; got {source!r}.")
    if not path.is_file():
        raise FileNotFoundError(f"new rows must be in an existing file; got {source!r}. Correct the path.")


def _only(name: str, arrays: dict[str, Any]) -> Any:
    if len(arrays) != 1:
        raise ValueError(f"{name} must hold one array of rows; got {', '.join(arrays)}. Save the one that is meant by itself.")
    return next(iter(arrays.values()))


def _reshaped(name: str, values: Values, data: Data, columns: tuple[str, ...] | None) -> Values:
    got, own, seen = tuple(values.shape[1:]), data.treatment.row_shape, tuple(data.train.shape[1:])
    if got in (own, seen):
        return values if got == seen else Chosen(values, shape=seen)
    named = "" if columns is None else f" ({some(columns, MANY)})"
    either = seen if own in (None, seen) else f"{own} or {seen}"
    raise ValueError(
        f"{name} must hold rows of shape {either}, as {data.name} does; got rows of shape {got}{named}. Reshape them, or choose columns."
    )


def _check_levels(name: str, values: Values, treatment: Treatment) -> None:
    """Check that rows are gray levels, if those of the data were and have been treated, and are not treated already."""
    if treatment.name is None or treatment.levels is None:
        return
    most, high = treatment.levels - 1, 0.0
    wanted = f"{name} must hold gray levels, whole numbers from 0 to {most}, as the run's data did before they were treated"
    for part in as_float32(values).parts():
        high = max(high, float(part.max()))
        if part.min() < 0 or high > most or not np.array_equal(part, np.rint(part)):
            raise ValueError(f"{wanted}; got values from {part.min():g} to {part.max():g}. Give the levels of the same scale.")
    if high == 1 < most:
        raise ValueError(f"{wanted}; got only zeros and ones, as of data that are binarized already. If they are, multiply them by {most}.")


def _tensor(values: Values) -> Tensor:
    return Rows(values) if values.is_streamed else torch.from_numpy(np.ascontiguousarray(values.whole()))


def _read_windows(source: Any, data: Data, alphabet: str, pair: object) -> NewRows:
    if not isinstance(source, str | Path):
        raise TypeError(f"new text must be the path of a {TEXT} file; got {type(source).__name__}. Write it to one.")
    path = Path(source).expanduser()
    _check_file(path, str(source), (TEXT,))
    codes = encode_like(read_text(path), alphabet, path.name)
    (T,) = data.train.shape[1:]
    rest = len(codes) % T
    note = f"The last {rest} characters of {path.name} are left out, as they are fewer than the {T} of a window." if rest else ""
    new = NewRows(path.name, torch.from_numpy(windows(codes, (T,))), note=note)
    _check_support(path.name, new.batch, pair)
    return new


def _check_support(name: str, batch: Batch, pair: object, *, is_filled: bool = True) -> None:
    """Check that the likelihood can have generated rows, where they are not missing; if they are filled, in place of missing cells too."""
    if pair is None:
        return
    with isolated(pair), torch.no_grad(), eval_mode(pair):
        for rows in row_slices(len(batch[0]), _CHECKED):
            part = plain(batch[0][rows])
            if is_filled:
                part = filled(part)[0] if part.isnan().any() and not part.isnan().all() else part.nan_to_num()
            try:
                _check_part(pair, (part, *(given[rows] for given in batch[1:])))
            except (ValueError, RuntimeError, IndexError) as error:
                raise ValueError(f"{name} does not suit the run: {_first_line(error)}") from error


def _check_part(pair: object, batch: Batch) -> None:
    with torch.random.fork_rng():
        check_data(pair, *batch)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
