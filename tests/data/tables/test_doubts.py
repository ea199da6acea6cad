"""What a table is read as in spite of its looks, each with a warning that names the column."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

from inference import load_data
from inference.data.tables.doubts import doubts_of_table
from inference.data.tables.kinds import find_columns

N = 60
RNG = np.random.default_rng(0)
A, B, C = RNG.normal(size=(3, N))
CITY = np.array(["Rome", "Oslo", "Bern"])[np.arange(N) % 3]
FRAME = pd.DataFrame({"a": A, "b": B, "city": CITY})


def warned(source, **options) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_data(source, **options)
    return [str(warning.message) for warning in caught]


def only(source, *parts: str, **options) -> None:
    (message,) = warned(source, **options)
    assert all(part in message for part in parts) and "\n" not in message, message


def written(tmp_path, frame: pd.DataFrame, **options):
    frame.to_csv(tmp_path / "table.csv", index=False, **options)
    return tmp_path / "table.csv"


@pytest.mark.parametrize("load", [load_breast_cancer, load_diabetes, load_iris, load_wine])
def test_tables_of_measurements_raise_no_doubts(load):
    assert warned(load(as_frame=True).frame) == []


def test_images_raise_no_doubts():
    digits = load_digits(as_frame=True).frame
    with pytest.warns(UserWarning, match="pixel_0_0 .* have one value"):
        columns = find_columns(digits, "digits")
    assert list(doubts_of_table(digits, columns)) == []
    assert warned(digits.drop(columns=["pixel_0_0", "pixel_4_0", "pixel_4_7"])) == []


def test_missing_cells_are_counted():
    gaps = FRAME.mask(RNG.random(FRAME.shape) < 0.2)
    assert f"; {int(gaps.isna().sum().sum())} of 180 cells missing." in load_data(gaps.dropna(how="all")).description
    assert "missing" not in load_data(FRAME).description


def test_words_that_are_read_as_missing_are_counted(tmp_path):
    plans = np.array(["None", "basic", "full", "NA", ""])[np.arange(N) % 5]
    plans[[0, 5]] = "basic"
    path = written(tmp_path, FRAME.assign(plan=plans, c=np.where(np.arange(N) % 9 == 0, "NA", C.astype(str))))
    only(path, "table.csv: column plan: 12 cells 'NA'; column plan: 10 cells 'None' are read as missing")
    assert warned(path, drop=["plan"]) == []
    assert warned(written(tmp_path, FRAME.mask(RNG.random(FRAME.shape) < 0.1).dropna(how="all"))) == []


@pytest.mark.parametrize("pattern", ["{}%", "{},000", "11,{}", "€{}", "{} °C", "08:{}", "EUR {}", "-{} kg", "1.{}4.500,25"])
def test_text_that_looks_like_numbers(pattern):
    values = [pattern.format(10 + i % 20) for i in range(N)]
    only(
        FRAME.assign(rate=values),
        "the table: rate (20 values, such as",
        f"{pattern.format(10)!r}) is read as a category, though",
        "Write plain",
    )
    assert warned(FRAME.assign(rate=values), kinds={"rate": "category"}) == []
    with pytest.raises(
        ValueError, match="rate holds text of 60 .*such as '1%'.*: write plain numbers, say .* or leave it out: --data.drop rate"
    ):
        load_data(FRAME.assign(rate=[f"{i + 1}%" for i in range(N)]))
    with pytest.raises(
        ValueError, match="rate holds numbers and words: 10 of 60 cells, such as '1,000', are no numbers. Write plain numbers"
    ):
        load_data(FRAME.assign(rate=[f"{i + 1},000" if i < 10 else str(i) for i in range(N)]))


@pytest.mark.parametrize("pattern", ["{}-39", "<{}", "ward {}", "A{}", "{}+", "T{}.1", "{}/7"])
def test_text_that_is_no_number(pattern):
    assert warned(FRAME.assign(rate=[pattern.format(10 + i % 20) for i in range(N)])) == []


def test_dots_that_may_part_thousands(tmp_path):
    prices = [f"{1 + i % 7}.{100 + i}" for i in range(N)]
    path = written(tmp_path, FRAME.assign(price=prices), sep=";", decimal=",")
    only(path, "table.csv: dots in price (1.100) are read as decimal points")
    assert warned(written(tmp_path, FRAME.assign(price=[f"0.{100 + i}" for i in range(N)]), sep=";", decimal=",")) == []
    assert warned(written(tmp_path, FRAME.assign(price=prices))) == []


@pytest.mark.parametrize("gaps", [False, True])
def test_columns_that_determine_one_another(gaps):
    def holed(frame):
        return frame.assign(b=frame["b"].where((np.arange(N) % 7 > 0) | (not gaps)))

    only(
        holed(FRAME.assign(f=A * 1.8 + 32)),
        "1 column is an exact linear function of others (f of a), so that",
        "--data.drop f",
    )
    only(holed(FRAME.assign(f=-A, city=C)), "(f of a)")
    only(holed(FRAME.assign(c=C, total=A + B + C)), "(total of a, b, c), so that", "--data.drop total")
    constant = FRAME.assign(c=C, one=0.1, gap=np.where(np.arange(N) == 5, np.nan, 1e6 / 3), city=np.arange(N) % 3 + 0.5)
    assert list(doubts_of_table(constant, find_columns(constant, "t", {"one": "real", "gap": "real"}))) == []
    two = FRAME.assign(c=C, s=A + C, d=A * B, e=C * B, t=A * B - C * B)
    only(holed(two), "2 columns are exact linear functions of others (s of a, c; t of d, e), so", "--data.drop s t")
    assert warned(holed(FRAME.assign(f=A + 1e-3 * C))) == []
    counts = np.arange(N) % 23 * 3
    assert warned(FRAME.assign(n=counts, m=2 * counts)) == []  # masses are bounded
    only(FRAME.assign(n=counts, share=counts / 7), "(share of n)", "--data.drop share")


def test_few_complete_rows_are_no_relation():
    wide = pd.DataFrame(RNG.normal(size=(20, 30)), columns=[f"c{i}" for i in range(30)])
    assert warned(wide) == []
    only(wide.assign(copy=wide["c3"]), "(copy of c3)")
    sparse = pd.DataFrame({"a": A, "b": B, "c": C}).mask(RNG.random((N, 3)) < 0.75).assign(d=A * B)
    assert warned(sparse) == []


@pytest.mark.parametrize("value", [-999, -9999, 9999, -1])
def test_values_that_stand_for_missing_ones(value):
    usual = np.where(np.arange(N) % 10 == 0, value, RNG.poisson(20, N) if value == -1 else 20 + A)
    only(FRAME.assign(c=usual), f"c ({value} in 6 rows) has a value far from all others. If it stands for a missing one, leave")
    usual = np.where(np.arange(N) < 2, value, 20 + A)
    assert warned(FRAME.assign(c=usual)) == []


def test_two_values_may_stand_for_missing_ones():
    usual = np.where(np.arange(N) % 10 == 0, -99.0, np.where(np.arange(N) % 10 == 1, 999.0, A))
    only(FRAME.assign(c=usual), "c (-99 in 6 rows), c (999 in 6 rows) have a value far from all others")


@pytest.mark.parametrize("values", [[1, 10, 100], [-1, 0, 1], [-1.5, 0.2, 8], [0, 50, 99]])
def test_values_far_apart_may_be_meant(values):
    assert warned(FRAME.assign(dose=np.array(values)[np.arange(N) % 3])) == []


def test_copies_of_rows():
    only(pd.concat([FRAME, FRAME[:5]]), "5 of 65 rows are copies of earlier ones")
    assert warned(pd.concat([FRAME, FRAME[:2]])) == []
    few = pd.DataFrame({"x": np.array([0.5, 1.5, 4.0])[RNG.integers(0, 3, N)], "city": CITY})
    assert warned(few) == []


def test_cells_that_are_lists_are_words_as_before():
    assert warned(FRAME.assign(city=[["x", i % 3] for i in range(N)])) == []


def test_words_that_differ_in_case():
    only(FRAME.assign(city=np.where(np.arange(N) == 4, "oslo", CITY)), "city ('Oslo' and 'oslo') has values that differ only in case")


def test_all_names_are_listed_up_to_forty():
    wide = pd.DataFrame(RNG.normal(size=(50, 41)), columns=[f"c{i}" for i in range(41)])
    assert (
        "40 real (c0, " in load_data(wide.drop(columns="c40")).description
        and "c38, c39)" in load_data(wide.drop(columns="c40")).description
    )
    assert "41 real (c0, " in load_data(wide).description and "c39, ...)" in load_data(wide).description


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "must be a table of numbers, not empty; it has no row. Give some rows"),
        ("\n\n", "must be a table of numbers, not empty"),
        ("height|visits\n" + "1.5|2\n" * 30, r"separated by commas, semicolons or tabs; .* by bars \|, as in 'height\|visits'"),
        ("height visits\n" + "1.5 2\n" * 30, "seem to be separated by blanks"),
        ("a,b,a,b\n1,2,3,4\n", "a, b come twice"),
    ],
)
def test_files_that_are_no_tables(text, match, tmp_path):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ValueError, match=match):
        load_data(tmp_path / "table.csv")


def test_names_with_commas_in_a_file_with_semicolons(tmp_path):
    frame = FRAME.rename(columns={"a": "height, in m, at noon", "b": "weight, in kg"})
    assert load_data(written(tmp_path, frame, sep=";", decimal=",")).columns == tuple(frame.columns)
