"""The fields of a table in a text file as they are written, with their quotes and spaces."""

from pathlib import Path
import re
from typing import NamedTuple

from inference.data.tables.frames import separator_of

_MARK = "\ufeff"  # of byte order
_BOUNDS = '"\r\n'


class Fields(NamedTuple):
    """A table in a text file.

    Attributes:
        names: Fields of the first line.
        rows: Fields of the other lines that hold a row.
        separator: What is between fields.
        end: What is at the end of a line.
        mark: A byte order mark, or nothing.
    """

    names: list[str]
    rows: list[list[str]]
    separator: str
    end: str
    mark: str

    def line(self, fields: list[str]) -> str:
        """Fields as a line of the file."""
        return self.separator.join(fields) + self.end

    def written(self, text: str, like: str) -> str:
        """A value as a field in place of another one: in quotes if that has them, or if the value must have them."""
        is_quoted = like.lstrip(" ").startswith('"') or text != text.strip() or any(mark in text for mark in (self.separator, *_BOUNDS))
        return '"' + text.replace('"', '""') + '"' if is_quoted else text


def read_fields(path: Path) -> Fields:
    """Read the fields of a .csv file whose first line has names and which :func:`~inference.data.tables.frames.read_frame` can read."""
    with path.open(newline="", encoding="utf-8") as file:
        text = file.read()
    mark = _MARK if text.startswith(_MARK) else ""
    separator = separator_of(path)
    rows = _split(text.removeprefix(mark), separator)
    names = rows.pop(0)
    if len(names) > 1:
        rows = [row for row in rows if row != [""]]
    end = re.search(r"\r\n|\r|\n", text)
    return Fields(names, rows, separator, "\n" if end is None else end[0], mark)


def unquoted(field: str) -> str:
    """The value of a field."""
    field = field.lstrip(" ")
    return field[1:].rpartition('"')[0].replace('""', '"') if field.startswith('"') else field


def _split(text: str, separator: str) -> list[list[str]]:
    plain = rf"[^{separator}\r\n]*"
    field = re.compile(rf'( *"[^"]*(?:""[^"]*)*"{plain}|{plain})({separator}|\r\n|\r|\n|\Z)')
    rows: list[list[str]] = [[]]
    for found in field.finditer(text):
        rows[-1].append(found[1])
        if found[2] != separator:
            rows.append([])
    rows.pop()
    return rows[:-1] if rows[-1] == [""] else rows  # after the end of the last line
