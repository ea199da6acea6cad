"""Tables and notes as HTML, and records that show themselves in a notebook as they print."""

from collections.abc import Collection, Iterable, Sequence
import html
from typing import NamedTuple

import pandas as pd

_LEFT = ' style="text-align: left"'


class Shown(NamedTuple):
    """What a notebook shows.

    Attributes:
        table: Texts, with the names of the rows as the index.
        notes: Sentences below the table.
        prose: Columns of words instead of figures.
    """

    table: pd.DataFrame
    notes: Sequence[str]
    prose: Collection[str] = ()


class Record:
    """A result that shows itself in a notebook as a table with notes below it, with the digits with which it is printed."""

    def _shown(self) -> Shown:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        table, notes, prose = self._shown()
        return html_table(table, prose=prose) + "".join(f"\n<p>{escape(note)}</p>" for note in notes)


class Lines(Record):
    """A result that is printed in lines; in a notebook, those that begin with the name of a figure are a table, and the others notes."""

    def _lines(self) -> Iterable[tuple[str, str]]:
        """The name of a figure, or an empty string, and the rest of each line."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return "\n".join(" ".join(filter(None, line)) for line in self._lines())

    def _shown(self) -> Shown:
        lines = list(self._lines())
        rows = {name.rstrip(":"): [text] for name, text in lines if name}
        notes = [text[:1].upper() + text[1:] for name, text in lines if not name]
        return Shown(pd.DataFrame.from_dict(rows, orient="index", columns=[""]), notes, prose=[""])


def html_table(table: pd.DataFrame, *, caption: str = "", kind: str = "", prose: Collection[str] = ()) -> str:
    """Format a data frame of texts as an HTML table, with its index on the left, and without colors or fonts of its own.

    Args:
        table: Cells, columns and index; escaped here. Columns without names have no head.
        caption: What the table shows.
        kind: Class of the table, for a style sheet.
        prose: Columns to be aligned on the left.
    """
    names = [name or "" for name in table.index.names] if table.index.nlevels > 1 else [""]
    styles = [_LEFT if column in prose else "" for column in table.columns]
    cells = zip([""] * len(names) + styles, [*names, *table.columns], strict=True)
    head = "".join(f'<th scope="col"{style}>{escape(str(name))}</th>' for style, name in cells)
    rows = "\n".join(_row(name, texts, styles) for name, *texts in table.itertuples(name=None))
    return "".join(
        [
            f'<table class="{kind}">' if kind else "<table>",
            f"<caption>{escape(caption)}</caption>\n" if caption else "\n",
            f"<thead><tr>{head}</tr></thead>\n" if any(table.columns) else "",
            f"<tbody>\n{rows}\n</tbody></table>",
        ]
    )


def escape(text: str) -> str:
    """Escape text for HTML; a value stays on one line with its error."""
    return html.escape(text).replace(" ± ", "\u00a0±\u00a0").replace("k-hat", "k\u2011hat")


def _row(name: object, texts: Sequence[object], styles: Sequence[str]) -> str:
    names = name if isinstance(name, tuple) else (name,)
    head = "".join(f'<th scope="row">{escape(str(part))}</th>' for part in names)
    return f"<tr>{head}{''.join(f'<td{style}>{escape(str(text))}</td>' for text, style in zip(texts, styles, strict=True))}</tr>"
