"""Tables as they are: what their columns are taken for, which are refused, and numbers that become a table again."""

import numpy as np
import pandas as pd
import pytest
import torch

from inference import load_data
from inference.data.tables.coding import code, decode_table
from inference.data.tables.kinds import find_columns

N = 40
PLACES = np.arange(N)
REAL = np.random.default_rng(0).normal(size=N)
FRAME = pd.DataFrame(
    {
        "length": REAL,
        "visits": [0, 30, *[PLACES[i] % 7 * 4 for i in range(2, N)]],
        "stars": PLACES % 5 + 1,
        "colour": [["red", "green", "blue"][i % 3] for i in PLACES],
        "kind": PLACES % 2 * 2 + 2,
        "is_new": PLACES % 3 == 0,
    }
)


def refused(frame: pd.DataFrame, match: str, **options) -> None:
    with pytest.raises(ValueError, match=match):
        load_data(frame, **options)


def test_kinds_are_found_from_values():
    found = {column.name: (column.kind, column.values) for column in find_columns(FRAME, "a table")}
    assert found == {
        "length": ("real", ()),
        "visits": ("count", ()),
        "stars": ("ordinal", ("1", "2", "3", "4", "5")),
        "colour": ("category", ("blue", "green", "red")),
        "kind": ("binary", ("2", "4")),
        "is_new": ("binary", ("False", "True")),
    }


def test_a_table_with_gaps_becomes_numbers_and_the_same_table_again():
    gaps = FRAME.astype(object).mask(np.random.default_rng(1).random(FRAME.shape) < 0.2)
    columns = find_columns(gaps, "a table")
    again = decode_table(code(gaps, columns, "a table").astype(np.float64), columns)
    assert again.isna().equals(gaps.isna())
    for name in FRAME:
        known = gaps[name].dropna()
        values = again[name].dropna()
        if name == "length":
            np.testing.assert_allclose(values.astype(float), known.astype(float), rtol=1e-6)
        else:
            assert list(map(str, values)) == list(map(str, known)), name


def test_the_choice_of_columns_and_kinds():
    data = load_data(FRAME, drop=["kind"], kinds={"stars": "count"})
    assert data.columns == ("length", "visits", "stars", "colour", "is_new")
    assert data.kinds[2].kind == "count" and data.train[:, 2].max() == 5
    assert "1 real (length), 2 count (visits, stars), 1 category (colour: 3 values), 1 binary (is_new)" in data.description
    assert load_data(FRAME, columns=["stars", "length"]).columns == ("length", "stars")
    refused(FRAME, "drop must name columns of the table, length, visits, .*; got z", drop=["z"])
    refused(FRAME, "kinds: stars must be one of real, .*; got 'whole'", kinds={"stars": "whole"})
    refused(FRAME, "column length cannot be count, as not all of its values are whole", kinds={"length": "count"})
    refused(FRAME, "column colour cannot be ordinal, as it holds words, whose order nothing says", kinds={"colour": "ordinal"})
    with pytest.raises(ValueError, match="drop needs a table that names its columns"):
        load_data(REAL[:, None], drop=["a"])


def test_a_condition_may_be_text():
    data = load_data(FRAME.assign(colour=FRAME["colour"].mask(PLACES == 3)), condition="colour")
    values = torch.cat(list(data.given["colour"].values()))
    assert data.num_categories == {"colour": 3} and sorted(values.unique().tolist()) == [-1, 0, 1, 2]


@pytest.mark.parametrize(
    ("column", "match"),
    [
        (pd.date_range("2020-01-01", periods=N), "column new holds dates, such as 2020-01-01"),
        ([f"{i + 1}/2/2020" for i in range(N)], "column new holds dates, such as 1/2/2020"),
        (["unknown", *map(str, range(N - 1))], "column new holds numbers and words: 1 of 40 cells, such as 'unknown'"),
        ([f"user {i}" for i in range(N)], "column new holds text of 40 different values in 40 rows, .*--data.drop new"),
        ([np.nan] * N, "column new has no value: all cells are missing. Leave it out: --data.drop new"),
        (
            [np.inf, *REAL[1:]],
            "column new must be finite in float32; got inf in row 0, counted from 0. Correct the cell, or leave it empty",
        ),
        (10.0**10 + PLACES * 7 % 40, "column new has large numbers that differ little, such as 1000000000"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* identifiers:UserWarning")
def test_columns_that_are_no_data_are_refused_by_name(column, match):
    refused(FRAME.assign(new=column), match)


def test_warnings_of_identifiers_and_constants():
    with pytest.warns(UserWarning, match=r"id has another whole number in every row, .* --data.drop id$"):
        load_data(FRAME.assign(id=PLACES + 7))
    with pytest.warns(UserWarning, match=r"one \(1\), two \(x\) have one value in all rows and add nothing to log p"):
        load_data(FRAME.assign(one=1, two="x"))
    with pytest.warns(UserWarning, match="has one column, 'length'"):
        load_data(FRAME[["length"]])


@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", ".")])
def test_separators_and_byte_order_marks(separator, decimal, tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbf" + FRAME.to_csv(index=False, sep=separator, decimal=decimal).encode())
    data, expected = load_data(path), load_data(FRAME)
    assert data.columns == expected.columns and data.kinds == expected.kinds
    torch.testing.assert_close(data.train, expected.train)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a,b,a\n1,2,3\n", "table.csv must name each column once; a comes twice"),
        ("a,b\n1,2\n3\n", "must have 2 fields in every line, .*; got 1 in line 3"),
        ("a,b\n" + "1.5,2\n" * 30 + ",\n", "observed cell in every row; got none in 1 rows, such as row 30"),
        (",".join(f"c{i}" for i in range(100_001)), "has 100001 columns, more than the 100000"),
        ("a,b\n", "table.csv must have rows"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*one value in all rows:UserWarning")
def test_bad_files_are_refused_in_one_line(text, match, tmp_path):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ValueError, match=match):
        load_data(tmp_path / "table.csv")


def test_plain_numbers_of_a_named_table_are_left_as_they_are(tmp_path):
    frame = pd.DataFrame({f"p{i}": np.arange(30) * (i + 3) % 17 for i in range(4)})
    frame.to_csv(tmp_path / "pixels.csv", index=False)
    data = load_data(tmp_path / "pixels.csv", binarize="half")
    assert data.kinds is None and data.columns == ("p0", "p1", "p2", "p3") and set(data.train.unique().tolist()) == {0.0, 1.0}
    assert load_data(tmp_path / "pixels.csv", binarize=None).train.max() == 16
    frame.assign(p0="x").to_csv(tmp_path / "pixels.csv", index=False)
    with pytest.raises(ValueError, match=r"must hold numbers; got columns p0\."):
        load_data(tmp_path / "pixels.csv", binarize="half")


def test_a_file_that_is_missing_is_named_whatever_is_asked_of_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="source must be an existing file; got .*none.csv"):
        load_data(tmp_path / "none.csv", drop=["a"])
