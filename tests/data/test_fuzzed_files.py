"""A thousand damaged files and strange arrays: each is read rightly, or refused with a line that names it."""

from io import BytesIO
from pathlib import Path
import warnings
import zipfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest
import torch

from inference.data.load import Data, load_data
from inference.data.treatments import BINARIZE

FUZZ = settings(max_examples=250, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
ROWS = np.random.default_rng(0).normal(size=(30, 3))
FIELDS = st.one_of(
    st.sampled_from(
        ["1", "2.5", "-3e2", "1e400", "nan", "inf", "NA", "", " ", "a", '"', '"1,2"', "0x1f", "1_0", "\ufeff", "\x00", "16777217", "é"]
    ),
    st.text(max_size=4),
)
DTYPES = st.sampled_from("?bBhHiIlLqQefdgFDSUOMm")


def loaded(source, name: str, **options) -> None:
    """Load data, which are float32 in three splits, finite but for missing cells of a table with kinds, or refused by name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of single and constant columns
            data = load_data(source, **options)
    except (ValueError, TypeError, OSError) as error:
        assert name in str(error), error
    else:
        assert isinstance(data, Data)
        for x in (data.train, data.valid, data.test):
            assert x.dtype == torch.float32 and len(x) > 0 and not x.isinf().any() and (data.kinds or x.isfinite().all())


def saved(**named: np.ndarray) -> bytes:
    file = BytesIO()
    np.savez_compressed(file, **named) if len(named) > 1 else np.save(file, *named.values())
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


@FUZZ
@given(st.lists(st.lists(FIELDS, max_size=4).map(",".join), max_size=25), st.sampled_from(["\n", "\r\n", "\r"]))
def test_tables_of_any_text(folder, lines, end):
    path = folder / "fuzzed.csv"
    path.write_bytes(end.join(lines).encode("utf-8", "surrogatepass"))
    loaded(path, "fuzzed.csv")


@FUZZ
@given(st.data())
def test_arrays_of_any_kind(data):
    dtype = np.dtype(data.draw(DTYPES))
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=12))
    if dtype == np.dtype("O"):
        array = np.full(shape, None, dtype=object)
    else:
        array = data.draw(arrays.arrays(dtype, shape, fill=st.nothing() if np.prod(shape) < 12 else None))
    options = {
        "binarize": data.draw(st.sampled_from(BINARIZE)),
        "dequantize": data.draw(st.booleans()),
        "shape": data.draw(st.sampled_from([None, (2,), (1, 2)])),
        "test_fraction": data.draw(st.sampled_from([None, 0.3, float("nan"), -1.0, 2.0])),
    }
    loaded(array, "", **options)


@pytest.mark.parametrize(
    ("name", "content"),
    [("fuzzed.npy", saved(data=ROWS)), ("fuzzed.npz", saved(train=ROWS, test=ROWS))],
)
@FUZZ
@given(changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6), kept=st.floats(0, 1.5))
def test_files_with_changed_bytes_and_lost_ends(folder, name, content, changes, kept):
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    path = folder / name
    path.write_bytes(damaged[: max(1, int(len(damaged) * min(kept, 1)))])
    loaded(path, name)


def test_no_name_in_an_archive_writes_outside_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "up.npz", "w") as archive:
        archive.writestr("../../up.npy", saved(data=ROWS))
    loaded(tmp_path / "up.npz", "up.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["up.npz"]
