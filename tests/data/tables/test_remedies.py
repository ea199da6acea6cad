"""What an error says to type works as it is printed, whatever columns are called."""

import shlex
import warnings

import numpy as np
import pandas as pd
import pytest

from inference import load_data
from inference.data.columns import Column
from inference.data.tables.coding import code
from inference.data.tables.remedies import drop, kind_of
from inference.scripts.parsing import parse

NAMES = [
    "id",
    "customer-id",
    "größe in m²",
    "größe",
    "Unnamed: 0",
    "a,b",
    "x|y",
    'say "x"',
    "it's",
    "two  spaces",
    "tab\there",
    "no\xa0break",
] + ["null", "true", "no", "auto", "1", "1e3", "a=b", "=", "-id", "--pair", "[x]", "{x: y}", "#no", "back\\slash", "$HOME `ls`", "!", "~"]


def pasted(said: str):
    """The options of a table, of a command that ends with the part of a message which begins with an option."""
    shown = " ".join(said.split())  # as errors are printed
    return parse("train", "", ["--out", "x", *shlex.split(shown[shown.index("--data.") :])]).data


@pytest.mark.parametrize("name", NAMES)
def test_options_that_name_a_column_can_be_pasted(name):
    assert list(pasted(drop(name)).drop) == [name]
    assert list(pasted(drop("id", name, "row")).drop) == ["id", name, "row"]
    assert pasted(kind_of(name, "count")).kinds == {name: "count"}


N = 40
ODD = 'Unnamed: 0, "it\'s"'


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([np.nan] * N, {"drop": [ODD]}),
        (pd.date_range("2020-01-01", periods=N), {"drop": [ODD]}),
        (["unknown", *map(str, range(N - 1))], {"kinds": {ODD: "category"}}),
        ([f"user {i}" for i in range(N)], {"kinds": {ODD: "category"}}),
        (10.0**10 + np.arange(N) * 7 % 40, {"drop": [ODD]}),
        (range(100, 100 + N), {"drop": [ODD]}),
    ],
)
def test_messages_say_options_that_can_be_pasted(cells, expected):
    frame = pd.DataFrame({"length": np.random.default_rng(0).normal(size=N), ODD: cells})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            load_data(frame)
            said = str(caught[0].message)
        except ValueError as error:
            said = str(error)
    said = said.split(" or leave it out")[0] if "user" in said else said  # which says two
    found = pasted(said)
    assert {name: list(value) if name == "drop" else value for name, value in vars(found).items() if name in expected} == expected


def test_plain_numbers_name_all_columns_to_drop():
    frame = pd.DataFrame({"length": [1.0, 2.0], "a b": ["x", "y"], "c": ["x", "y"]})
    with pytest.raises(ValueError, match="must hold numbers; got columns a b, c") as refused:
        load_data(frame, shape=[1])
    assert list(pasted(str(refused.value)).drop) == ["a b", "c"]


def test_an_ordinal_value_that_training_never_had_may_be_a_count():
    stars, frame = Column("my stars", "ordinal", ("1", "2", "3")), pd.DataFrame({"my stars": [1, 6]})
    with pytest.raises(
        ValueError, match="must hold one of 1, 2, 3; got '6' in row 1.* if the column is a count, train with --data"
    ) as refused:
        code(frame, [stars], "new.csv")
    assert pasted(str(refused.value)).kinds == {"my stars": "count"}
    with pytest.raises(ValueError, match=r"got '2.5' in row 1.*or leave it empty\.$"):
        code(frame.replace(6, 2.5), [stars], "new.csv")
