"""Files of values by row: tables (.csv, .parquet) or arrays (.npy, .npz), by the suffix of their name."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
import math
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from inference.data.columns import Column
from inference.data.tables.coding import decode_table
from inference.files import replacing_file

TABLES, ARRAYS = (".csv", ".parquet"), (".npy", ".npz")


def checked_file(out: str, *, overwrite: bool, inputs: Sequence[str] = ()) -> Path:
    """Return the path of a file to write, after checking that it may be written; before any work.

    Args:
        out: The path.
        overwrite: Whether an existing file may be replaced.
        inputs: Files that are read, which are never replaced.

    Raises:
        ValueError: If the suffix is unknown, or an existing file must not be replaced.
        FileNotFoundError: If there is no such folder.
        ImportError: If a .parquet file is asked for and pyarrow is missing.
    """
    path = Path(out).expanduser()
    if path.suffix not in (*TABLES, *ARRAYS):
        raise ValueError(f"--out must end in {', '.join((*TABLES, *ARRAYS))}; got {out!r}. Add one of these.")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise ImportError(f"writing {path} needs pyarrow. Run: pip install pyro-lvm[parquet]")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--out must be in an existing folder; got {out!r}. Make the folder.")
    if any(path.resolve() == Path(each).expanduser().resolve() for each in inputs):
        raise ValueError(f"--out must be another file than that of the data; got {out!r}. Choose another name.")
    if path.is_dir() or (path.exists() and not overwrite):
        raise ValueError(f"--out must be a new file; {out} exists. Choose another name, or replace it with --overwrite.")
    return path


def write_values(path: Path, values: Mapping[str, np.ndarray], columns: Mapping[str, Sequence[str]], *, has_draws: bool) -> None:
    """Write values by name.

    A table has a line for each row, in their order; if there are several draws, a line for each row of each draw, with the numbers of both
    in the first columns. An array keeps the shape of the values.

    Args:
        path: Path of the file.
        values: Values ``[N, *Y]`` or, of several draws, ``[M, N, *Y]``, by name.
        columns: Names of the columns of each in a table.
        has_draws: Whether the first dimension is that of draws.

    Raises:
        ValueError: If a .npy file is to hold values of several names.
    """
    if path.suffix in TABLES:
        write_table(path, _table(values, columns, has_draws=has_draws))
        return
    if path.suffix == ".npy" and len(values) > 1:
        raise ValueError(f"a .npy file holds one array; got {', '.join(values)}. Write a .npz file.")
    with replacing_file(path) as temporary:
        if path.suffix == ".npy":
            np.save(temporary, next(iter(values.values())))
        else:
            np.savez_compressed(temporary, **values)  # type: ignore[arg-type]  # none is named allow_pickle


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as .csv or .parquet, or its numbers by column as .npz, or all of them as .npy."""
    with replacing_file(path) as temporary:
        if path.suffix == ".csv":
            table.to_csv(temporary, index=False)
        elif path.suffix == ".parquet":
            table.to_parquet(temporary, index=False, engine="pyarrow")
        elif path.suffix == ".npz":
            np.savez_compressed(temporary, **{str(name): column.to_numpy() for name, column in table.items()})
        else:
            np.save(temporary, table.to_numpy(dtype=np.float64))


def _table(values: Mapping[str, np.ndarray], columns: Mapping[str, Sequence[str]], *, has_draws: bool) -> pd.DataFrame:
    frames = []
    for name, value in values.items():
        num_lead = 2 if has_draws else 1
        width = math.prod(value.shape[num_lead:])
        frames.append(pd.DataFrame(value.reshape(math.prod(value.shape[:num_lead]), width), columns=list(columns[name])))
    if has_draws:
        num_draws, num_rows = next(iter(values.values())).shape[:2]
        numbers = {"draw": np.repeat(np.arange(num_draws), num_rows), "row": np.tile(np.arange(num_rows), num_draws)}
        frames.insert(0, pd.DataFrame(numbers))
    return pd.concat(frames, axis=1)


def as_named(values: np.ndarray, columns: Sequence[Column]) -> pd.DataFrame:
    """Return rows ``[N, D]``, or of M draws ``[M, N, D]``, of a table whose columns have kinds, with the values that codes stand for."""
    if values.ndim == 2:
        return decode_table(values, columns)
    return numbered([decode_table(draw, columns) for draw in values])


def numbered(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables of several draws as one, with the numbers of draw and row in the first columns."""
    own = [part.copy() for part in parts]
    for number, part in enumerate(own):
        part.insert(0, "row", np.arange(len(part)))
        part.insert(0, "draw", number)
    return pd.concat(own, ignore_index=True)


def names_of(values: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return names of the columns of values ``[N, *Y]`` by site: z0, z1, ... of a site z; z1_0, z1_1, ... if there are several sites."""
    named = {}
    for site, value in values.items():
        stem = f"{site}_" if len(values) > 1 else site
        count = math.prod(value.shape[1:])
        named[site] = [site] if value.dim() == 1 else [f"{stem}{i}" for i in range(count)]
    return named
