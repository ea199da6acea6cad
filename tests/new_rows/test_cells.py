"""Imputed tables: cells that are known, and columns that the model does not see, stay as they are in the file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inference.data.columns import Column
from inference.data.tables.coding import code
from inference.data.tables.frames import read_frame
from inference.new_rows.cells import write_filled

COLUMNS = (
    Column("size", "real"),
    Column("visits", "count"),
    Column("stars", "ordinal", ("1", "2", "3")),
    Column("colour", "category", ("blue", "light; green", "red"), is_text=True),
    Column("member", "binary", ("False", "True"), is_text=True),
)
DRAWN = np.array([0.1, 7.0, 2.0, 1.0, 1.0], np.float32).astype(np.float64)  # [D]


def drawn_for(frame: pd.DataFrame) -> np.ndarray:
    x = code(frame, COLUMNS, "the table").astype(np.float64)
    return np.where(np.isnan(x), DRAWN, x)  # [N, D]


def filled(place: Path, text: str, out: str = "filled.csv") -> Path:
    source = place / "gaps.csv"
    source.write_bytes(text.encode())
    frame = read_frame(source)
    write_filled(place / out, drawn_for(frame), COLUMNS, frame, str(source))
    return place / out


COMMAS = (
    "id,key,note,size,visits,stars,colour,member\r\n"
    "9007199254740993,00123,NA,186.50,38,3, red,TRUE\r\n"
    '9007199254740992,0099,"a ""b"", c",,,,,\r\n'
    ",00007,None,1e3,12,2,blue,FALSE\r\n"
)


def test_a_text_file_keeps_every_known_field(tmp_path: Path) -> None:
    expected = COMMAS.replace('c",,,,,', 'c",0.1,7,3,light; green,TRUE')
    assert filled(tmp_path, COMMAS).read_bytes() == expected.encode()


def test_a_file_with_semicolons_keeps_them_with_decimal_commas_quotes_and_its_mark(tmp_path: Path) -> None:
    text = (
        '\ufeff"größe an id";size;visits;stars;colour;member\n"A;1";186,5;38;03;"red";true\n"A;2";;;;"";\n"A;\n3";0,25;NA;01;"blue";false\n'
    )
    expected = text.replace(';;;;"";\n', ';0,1;7;03;"light; green";true\n').replace("0,25;NA", "0,25;7")
    assert filled(tmp_path, text).read_bytes() == expected.encode()


def test_draws_are_numbered_beside_the_fields(tmp_path: Path) -> None:
    source = tmp_path / "gaps.csv"
    source.write_text("id\tsize\tvisits\tstars\tcolour\tmember\n007\t\t3\t1\tred\tyes\n".replace("yes", "True"))
    frame = read_frame(source)
    draws = np.stack([drawn_for(frame), drawn_for(frame)])
    draws[1, 0, 0] = 2.5
    write_filled(tmp_path / "out.csv", draws, COLUMNS, frame, str(source))
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[1:] == ["0\t0\t007\t0.1\t3\t1\tred\tTrue", "1\t0\t007\t2.5\t3\t1\tred\tTrue"]
    assert lines[0] == "draw\trow\tid\tsize\tvisits\tstars\tcolour\tmember"
    with pytest.raises(ValueError, match="must have no column row, which is to number the tables"):
        write_filled(tmp_path / "out.csv", draws, COLUMNS, frame.rename(columns={"id": "row"}), str(source))


def test_a_file_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    frame = read_frame(filled(tmp_path, COMMAS))
    with pytest.raises(ValueError, match="must be the file that was read, of 2 rows; it has 3 now"):
        write_filled(tmp_path / "out.csv", drawn_for(frame)[:2], COLUMNS, frame[:2], str(tmp_path / "gaps.csv"))


def test_a_parquet_table_made_of_text_keeps_identifiers(tmp_path: Path) -> None:
    table = pd.read_parquet(filled(tmp_path, COMMAS, "filled.parquet"))
    assert str(table["id"].dtype) == "Int64" and table["id"].tolist()[:2] == [9007199254740993, 9007199254740992]
    assert table["key"].tolist() == ["00123", "0099", "00007"] and table["note"].tolist() == ["NA", 'a "b", c', "None"]
    assert table["visits"].dtype == "int64" and table["stars"].dtype == "int64" and table["member"].tolist() == [True, True, False]


def test_a_parquet_table_keeps_its_dtypes(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "id": pd.array([9007199254740993, None, 3], "Int64"),
            "size": [1.0, np.nan, 2.0],
            "visits": pd.array([3, None, 4], "Int16"),
            "stars": pd.array([1, 2, 3], "uint8"),
            "colour": pd.Categorical(["red", None, "blue"], ["blue", "red"]),
            "member": [True, None, False],
            "day": pd.to_datetime(["2024-01-01", None, "2024-01-03"]),
        }
    )
    frame.to_parquet(tmp_path / "gaps.parquet")
    read = read_frame(tmp_path / "gaps.parquet")
    write_filled(tmp_path / "out.parquet", drawn_for(read), COLUMNS, read, str(tmp_path / "gaps.parquet"))
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert table["id"].equals(frame["id"]) and table["day"].equals(frame["day"]) and table["stars"].dtype == "uint8"
    assert table["visits"].tolist() == [3, 7, 4] and str(table["visits"].dtype) == "Int16"
    assert table["colour"].tolist() == ["red", "light; green", "blue"] and isinstance(table["colour"].dtype, pd.CategoricalDtype)
    assert table["member"].tolist() == [True, True, False] and table["member"].dtype == bool
