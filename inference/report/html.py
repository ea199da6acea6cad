"""A self-contained page of HTML, with its style, tables and pictures inside."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Protocol

import pandas as pd

from inference.drawing import DPI
from inference.markup import escape, html_table

PIXELS_PER_INCH = 100


STYLE = """
:root { color-scheme: light; --ink: #1a1a1a; --soft: #595959; --line: #d9d9d9; --accent: #0072b2; --warn: #d55e00; }
* { box-sizing: border-box; }
html { font: 17px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
html { color: var(--ink); background: #fff; }
body { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
p, ul, figcaption { max-width: 42rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 3rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin-top: 1.5rem; font-size: .9rem; }
a { color: var(--accent); }
.soft, figcaption, .notes { color: var(--soft); font-size: .9rem; }
.verdict { border-left: 4px solid var(--accent); padding: .1rem 0 .1rem 1.1rem; margin: 1.4rem 0; font-size: 1.05rem; }
.verdict p:first-child { font-weight: 600; }
.verdict p { margin: .45rem 0; }
.notes { padding-left: 1.1rem; }
.warnings { border-left: 4px solid var(--warn); padding: .1rem 0 .1rem 1.1rem; margin: 1.4rem 0; }
.warnings p { margin: .45rem 0; font-weight: 600; }
.warnings ul { margin: .45rem 0; padding-left: 1.1rem; }
.warnings li { margin: .3rem 0; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums lining-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .3rem .8rem; text-align: right; white-space: nowrap; }
th[scope=row], thead th:first-child { text-align: left; padding-left: 0; }
th { font-weight: 600; }
.prose th, .prose td { text-align: left; white-space: pre; }
thead th { border-bottom: 1.5px solid var(--ink); vertical-align: bottom; white-space: normal; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
figure { margin: 1.4rem 0; }
img { display: block; max-width: 100%; height: auto; }
@media print {
  html { font-size: 10.5pt; }
  body { max-width: none; padding: 0; }
  nav { display: none; }
  h2 { margin-top: 1.6rem; break-after: avoid; }
  figure, table, .verdict, .warnings { break-inside: avoid; }
  .scroll { overflow: visible; }
  th, td { padding: .2rem .45rem; white-space: normal; }
}
"""


class Block(Protocol):
    """A part of a page."""

    def html(self) -> str:
        """The part as HTML."""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str

    def html(self) -> str:
        return f"<p>{escape(self.text)}</p>"


@dataclass(frozen=True)
class Notes:
    """What one must know to read a table correctly, one sentence per note."""

    sentences: Sequence[str]

    def html(self) -> str:
        return f'<ul class="notes">{"".join(f"<li>{escape(sentence)}</li>" for sentence in self.sentences)}</ul>'


@dataclass(frozen=True)
class Table:
    """A data frame of formatted strings, with its index on the left.

    Attributes:
        frame: Cells, columns and index; escaped here.
        caption: What the table shows.
        is_prose: Whether the cells are lines of text instead of figures.
    """

    frame: pd.DataFrame
    caption: str
    is_prose: bool = False

    def html(self) -> str:
        table = html_table(self.frame, caption=self.caption, kind="prose" if self.is_prose else "")
        return f'<div class="scroll">{table}</div>'


@dataclass(frozen=True)
class Picture:
    """A PNG picture, embedded in the page.

    Attributes:
        path: The picture.
        caption: What the picture shows; also its alternative text.
    """

    path: Path
    caption: str

    def html(self) -> str:
        content = self.path.read_bytes()
        width = int.from_bytes(content[16:20], "big")  # from the header of the PNG file
        source = f"data:image/png;base64,{b64encode(content).decode()}"
        image = f'<img src="{source}" width="{width * PIXELS_PER_INCH // DPI}" alt="{escape(self.caption)}">'
        return f"<figure>{image}<figcaption>{escape(self.caption)}</figcaption></figure>"


def page(title: str, lead: str, verdict: Sequence[str], sections: Mapping[str, Sequence[Block]], warnings: Sequence[str] = ()) -> str:
    """Return a whole page.

    Args:
        title: Title, as plain text.
        lead: What the page is about, as plain text.
        verdict: Findings, one sentence each, as plain text.
        sections: Parts of the page by their headings.
        warnings: What must not be overlooked, one sentence or two each, as plain text.

    Returns:
        HTML that refers to nothing outside itself.
    """
    links = "".join(f'<a href="#{_anchor(heading)}">{escape(heading)}</a>' for heading in sections)
    parts = [_section(heading, blocks) for heading, blocks in sections.items()]
    findings = "".join(f"<p>{escape(sentence)}</p>" for sentence in verdict)
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            f'<header>\n<h1>{escape(title)}</h1>\n<p class="soft">{escape(lead)}</p>',
            f'<div class="verdict">{findings}</div>{_warnings(warnings)}\n<nav aria-label="Parts">{links}</nav>\n</header>\n<main>',
            *parts,
            "</main>\n</body>\n</html>\n",
        ]
    )


def _warnings(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'\n<div class="warnings"><p>Warnings</p><ul>{items}</ul></div>' if sentences else ""


def _section(heading: str, blocks: Sequence[Block]) -> str:
    content = "\n".join(block.html() for block in blocks)
    return f'<section id="{_anchor(heading)}">\n<h2>{escape(heading)}</h2>\n{content}\n</section>'


def _anchor(heading: str) -> str:
    return re.sub(r"\W+", "-", heading.lower()).strip("-")
