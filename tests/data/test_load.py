"""Data: splits, binarization, dequantization, and the user's arrays and files."""

from collections.abc import Callable
from pathlib import Path
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest
from sklearn.datasets import load_digits
from splits import SPLITS, all_rows, sorted_rows
import torch

from inference.data.fingerprint import data_id, training_id
from inference.data.load import load_data
from inference.data.published.download import checksum
from inference.data.treatments import Dequantize

ROWS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
GRAY = np.random.default_rng(0).integers(256, size=(200, 50), dtype=np.uint8)


def test_digits_are_a_partition_of_those_of_scikit_learn_with_their_labels():
    data = load_data("digits", binarize=None)
    assert [len(getattr(data, split)) for split in SPLITS] == [1197, 300, 300]
    labeled = torch.column_stack([all_rows(data), torch.cat([data.labels[split] for split in SPLITS])])
    expected = np.column_stack(load_digits(return_X_y=True))
    np.testing.assert_array_equal(sorted_rows(labeled), sorted_rows(expected))
    assert torch.equal(all_rows(load_data("digits")), (all_rows(data) > 8).float())
    assert data.train.dtype == torch.float32 and data.labels["train"].dtype == torch.int64


def test_digits_keep_the_split_that_earlier_figures_rest_on():
    test = np.uint8(load_data("digits", binarize=None).test)
    assert checksum(test, like="md5") == "md5:6a41eb8029ac3756ece56f4fd423d5d3"


def test_the_seed_decides_the_split():
    first, again, other = (load_data(ROWS, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.test, again.test) and not torch.equal(first.test, other.test)
    assert "seed 3" in first.description and "32 train, 4 valid, 4 test" in first.description
    for data in (first, other):
        np.testing.assert_array_equal(sorted_rows(all_rows(data)), sorted_rows(ROWS))


def test_fractions_and_shape():
    data = load_data(ROWS, valid_fraction=0.25, test_fraction=0.5, shape=(1, 3))
    assert [tuple(getattr(data, split).shape) for split in SPLITS] == [(10, 1, 3), (10, 1, 3), (20, 1, 3)]


def test_static_draws_have_the_frequency_of_the_gray_level():
    gray = np.repeat(np.array([0, 51, 204, 255], np.uint8), 2500)[None].repeat(30, 0)
    data = load_data(gray, binarize="static")
    frequency = all_rows(data).reshape(-1, 4, 2500).double().mean((0, 2))
    error = torch.tensor([0.0, 0.16, 0.16, 0.0], dtype=torch.float64).div(30 * 2500).sqrt()
    assert ((frequency - torch.tensor([0.0, 0.2, 0.8, 1.0])).abs() <= 4 * error).all()
    assert torch.equal(all_rows(data), all_rows(load_data(gray, binarize="static")))
    assert data.transform is None and not torch.equal(data.train[0], data.train[1])


def test_dynamic_draws_train_afresh_and_shares_valid_and_test_with_static():
    gray, static, dynamic = (load_data(GRAY, binarize=binarize) for binarize in (None, "static", "dynamic"))
    assert torch.equal(dynamic.valid, static.valid) and torch.equal(dynamic.test, static.test)
    torch.testing.assert_close(dynamic.train, gray.train / 255)
    torch.manual_seed(0)
    draws = torch.stack([dynamic.transform(dynamic.train) for _ in range(400)]).double()
    assert ((draws == 0) | (draws == 1)).all()
    p = dynamic.train.double()
    z = ((draws.mean(0) - p) / (p * (1 - p) / 400).sqrt())[(p > 0) & (p < 1)]
    assert abs(z.square().mean() - 1) < 4 * (2 / len(z)) ** 0.5


def test_dequantized_levels_stay_in_their_interval_and_the_noise_is_uniform():
    gray, data = load_data(GRAY), load_data(GRAY, dequantize=True)
    torch.manual_seed(0)
    first, second = data.transform(data.train), data.transform(data.train)
    for x, y in [(gray.train, data.train), (gray.train, first), (gray.train, second), (gray.valid, data.valid), (gray.test, data.test)]:
        assert kstest((256 * y - x).flatten().double(), "uniform").pvalue > 1e-3
    assert not torch.equal(first, second)
    assert torch.equal(data.test, load_data(GRAY, dequantize=True).test)


@pytest.mark.parametrize("steps", [0, 2**15 - 1])
def test_dequantization_is_exactly_invertible_at_the_ends_of_the_noise(steps):
    x = torch.arange(256.0)
    y = Dequantize(256).with_steps(x, torch.full_like(x, steps))
    assert torch.equal((256 * y).floor(), x) and y.min() > 0 and y.max() < 1


@pytest.mark.parametrize("steps", [0, 1, 2**14, 2**15 - 2, 2**15 - 1])
def test_new_noise_keeps_every_level_for_any_number_of_levels(steps):
    torch.manual_seed(0)
    for levels in range(2, 257):
        noise, x = Dequantize(levels), torch.arange(float(levels))
        y = noise.with_steps(x, torch.full_like(x, steps))  # floor and rounding are monotone, so the ends stand for all noise
        assert torch.equal(noise.levels_of(y), x) and torch.equal(noise.levels_of(y.double()), x.double()), levels
        assert torch.equal(noise.levels_of(noise.afresh(noise.afresh(y))), x)


def test_the_noise_of_a_batch_is_that_of_its_levels():
    gray, data = load_data(GRAY), load_data(GRAY, dequantize=True)
    torch.manual_seed(0)
    expected = Dequantize(256)(gray.train)
    torch.manual_seed(0)
    assert torch.equal(data.transform(data.train), expected)


def test_the_fingerprint_of_training_data_is_that_of_their_levels():
    noisy = [training_id(load_data(GRAY, dequantize=True)), training_id(load_data(GRAY))]
    assert noisy == [data_id(load_data(GRAY).train)] * 2


def test_levels_are_not_taken_for_dequantized_data():
    with pytest.raises(ValueError, match="must lie between 0 and 1; got values from 0 to 255"):
        load_data(GRAY, dequantize=True).transform(torch.tensor([0.0, 255.0]))


def test_half_range_cuts_between_127_and_128():
    gray = np.tile(np.array([[0, 127, 128, 255]], np.uint8), (20, 1))
    assert load_data(gray, binarize="half").test.unique(dim=0).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize(("binarize", "treated"), [("half", "above 8"), ("static", "of x / 16"), ("dynamic", "of x / 16")])
def test_levels_below_128_have_the_range_that_they_use(binarize, treated):
    few = np.tile(np.array([[0, 8, 9, 16]], np.uint8), (20, 1))
    data = load_data(few, binarize=binarize)
    assert treated in data.description
    assert (data.test.numpy()[:, [0, 3]] == [0, 1]).all()  # of 255, the highest level would hardly ever be 1
    if binarize == "half":
        assert (data.test.numpy() == [0, 0, 1, 1]).all()


def test_few_levels_are_spread_over_the_unit_interval():
    data = load_data(np.tile(np.array([[0, 3]], np.uint8), (20, 1)), dequantize=True)
    assert data.test[:, 1].min() > 0.75 and "(x + u) / 4" in data.description


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int32, np.float64])
def test_whole_numbers_that_float32_rounds_are_refused_by_column(dtype, tmp_path):
    identifiers = np.arange(2**24, 2**24 + 40)
    np.save(tmp_path / "t.npy", np.stack([np.arange(40), identifiers], 1).astype(dtype))
    with pytest.raises(ValueError, match=r"t\.npy: data: column 2 holds whole numbers beyond 2\*\*24 .* such as 16777217"):
        load_data(tmp_path / "t.npy")
    even = (identifiers - identifiers % 2).astype(dtype)
    assert sorted(np.unique(all_rows(load_data(even[:, None])))) == sorted(np.unique(even))


def test_large_fractions_are_rounded_as_any():
    rows = np.random.default_rng(0).normal(size=(40, 2)) * 1e9
    np.testing.assert_allclose(sorted_rows(all_rows(load_data(rows))), sorted_rows(rows), rtol=1e-6)
    with pytest.raises(ValueError, match="such as 9223372036854775807"):
        load_data(np.full((40, 1), 2**63 - 1))


def save_parquet(path: Path) -> None:
    pd.DataFrame(ROWS, columns=list("abc"), index=range(5, 45)).to_parquet(path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "rows.npy": lambda path: np.save(path, ROWS),
    "rows.npz": lambda path: np.savez(path, anything=ROWS),
    "plain.csv": lambda path: np.savetxt(path, ROWS, delimiter=","),
    "named.csv": lambda path: pd.DataFrame(ROWS, columns=["a", "b,c", "d"]).to_csv(path, index=False),
    "marked.csv": lambda path: np.savetxt(path, ROWS, delimiter=",", encoding="utf-8-sig"),
    "rows.parquet": save_parquet,
}


@pytest.mark.parametrize("file", WRITERS)
def test_every_kind_of_file_gives_the_rows_of_the_array(file, tmp_path):
    WRITERS[file](tmp_path / file)
    data, expected = load_data(str(tmp_path / file)), load_data(ROWS)
    torch.testing.assert_close(all_rows(data), all_rows(expected))
    assert data.name == file and data.labels is None and data.transform is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.uint8, torch.bool])
def test_tensors_keep_their_shape_and_their_owner(dtype):
    x = torch.randint(2, (30, 2, 4), generator=torch.Generator().manual_seed(0)).to(dtype)
    data = load_data(x)
    np.testing.assert_array_equal(sorted_rows(all_rows(data)), sorted_rows(x.float()))
    data.train.zero_()
    assert x.any()


def test_npz_splits_are_kept_and_a_missing_validation_split_is_drawn_from_train(tmp_path):
    np.savez(tmp_path / "three.npz", train=ROWS[:20], valid=ROWS[20:25], test=ROWS[25:])
    np.savez(tmp_path / "two.npz", train=ROWS[:20], test=ROWS[20:])
    assert np.array_equal(all_rows(load_data(tmp_path / "three.npz")), ROWS)
    two = load_data(tmp_path / "two.npz", valid_fraction=0.2)
    assert len(two.valid) == 4 and np.array_equal(two.test, ROWS[20:])
    np.testing.assert_array_equal(sorted_rows(all_rows(two)), sorted_rows(ROWS))


BAD_ARRAYS = {
    "missing values": (np.array([[1.0], [np.nan]] * 20), {}, "finite in float32; got 20"),
    "too large for float32": (np.full((40, 1), 1e300), {}, "finite in float32; got 40"),
    "words": (np.array([["a"]] * 40), {}, "must hold numbers; got dtype <U1"),
    "empty": (np.zeros((0, 3)), {}, r"not empty; got \(0, 3\)"),
    "too few rows": (ROWS[:4], {}, "at least one row to each split"),
    "fractions": (ROWS, {"valid_fraction": 0.5, "test_fraction": 0.5}, "at least one row to each split"),
    "shape": (ROWS, {"shape": (2, 2)}, r"3 entries; got \(2, 2\)"),
    "unknown binarization": (GRAY, {"binarize": "otsu"}, "'half', 'static', 'dynamic'.*got 'otsu'"),
    "two treatments": (GRAY, {"binarize": "half", "dequantize": True}, "left out with dequantize=True"),
    "not gray": (ROWS, {"binarize": "dynamic"}, "'dynamic' needs gray levels"),
    "already binary": (GRAY % 2, {"binarize": "half"}, "'half' needs gray levels"),
    "not gray, dequantized": (GRAY / 255, {"dequantize": True}, "'dequantize' needs gray levels"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_unsuitable_arrays_and_options_are_refused(case):
    array, options, message = BAD_ARRAYS[case]
    with pytest.raises(ValueError, match=message):
        load_data(array, **options)


def save_header(path: Path, shape: tuple[int, ...]) -> None:
    """A file of no numbers whose header promises an array of that shape."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})


def save_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("data.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (2**28, 1)})
        for _ in range(2**8):
            member.write(bytes(2**20))


def save_promise(path: Path) -> None:
    save_header(path.with_suffix(".npy"), (10**12, 4))
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_suffix(".npy"), "data.npy")


BAD_FILES = {
    "huge.npy": (lambda path: save_header(path, (10**12, 4)), r"huge\.npy must hold plain numeric arrays; it is damaged"),
    "huge.npz": (save_promise, r"huge\.npz .* data\.npy should have shape \(1000000000000, 4\) of float64, more than its 128 bytes"),
    "bomb.npz": (save_bomb, r"bomb\.npz .* data\.npy is \d+ bytes long and unpacks to 268435584"),
    "mixed.csv": (lambda path: path.write_text("NA,1,2\n1,2,3\n"), "mixed.csv .* words, 'NA', and numbers, '1', '2'"),
    "pickle.npz": (lambda path: np.savez(path, train=np.array([{}])), "pickled objects"),
    "pickle.npy": (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "pickled objects"),
    "junk.npz": (lambda path: path.write_bytes(b"PK\x03\x04 junk"), "damaged"),
    "short.npy": (lambda path: (np.save(path, ROWS), path.write_bytes(path.read_bytes()[:-9])), "damaged"),
    "names.npz": (lambda path: np.savez(path, x=ROWS, y=ROWS), "train, test and possibly valid; got x, y"),
    "shapes.npz": (lambda path: np.savez(path, train=ROWS, test=ROWS[:, :2]), r"\(36, 3\).*\(40, 2\)"),
    "words.csv": (lambda path: path.write_text("a,b\n1,2\n3,x\n"), "column b holds numbers and words: 1 of 2 cells, such as 'x'"),
    "ragged.csv": (lambda path: path.write_text("1,2\n3,4,5\n"), "columns changed from 2 to 3"),
    "hole.csv": (lambda path: path.write_text("1,2\n3,\n"), "'' to float64 at row 1"),
    "index.csv": (lambda path: pd.DataFrame(ROWS).to_csv(path), "index=False"),
    "counted.csv": (lambda path: pd.DataFrame(ROWS).to_csv(path, index=False), "numbers the columns"),
    "empty.csv": (lambda path: path.write_text(""), "not empty"),
    "junk.parquet": (lambda path: path.write_bytes(b"junk"), "must be a Parquet table"),
    "words.parquet": (lambda path: pd.DataFrame({"a": ["x", "2"], "b": [1, 3]}).to_parquet(path), "column a holds numbers and words"),
    "rows.dat": (lambda path: path.write_text("1 2"), "ends in .npy, .npz, .csv, .parquet, .txt, a folder"),
}


@pytest.mark.parametrize("file", BAD_FILES)
def test_unsuitable_files_are_refused(file, tmp_path):
    write, message = BAD_FILES[file]
    write(tmp_path / file)
    with pytest.raises(ValueError, match=message):
        load_data(tmp_path / file)


def test_splits_that_a_source_has_are_not_drawn_again(tmp_path):
    np.savez(tmp_path / "two.npz", train=ROWS, test=ROWS)
    for source in ("digits", tmp_path / "two.npz"):
        with pytest.raises(ValueError, match="test_fraction must be left out"):
            load_data(source, test_fraction=0.1)


def test_unknown_sources_are_refused(tmp_path):
    with pytest.raises(ValueError, match="digits, mnist, mnist-static.*got 'mnits'"):
        load_data("mnits")
    with pytest.raises(FileNotFoundError, match=r"absent\.npy"):
        load_data(tmp_path / "absent.npy")
    with pytest.raises(TypeError, match="numpy.asarray"):
        load_data({"x": [1.0]})


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    save_parquet(tmp_path / "rows.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install pyro-lvm\[parquet\]"):
        load_data(tmp_path / "rows.parquet")
