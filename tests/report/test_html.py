"""Pages of HTML."""

from html import unescape

from pages import Page
import pandas as pd

from inference.report.html import Notes, Paragraph, Table, page


def test_texts_are_escaped():
    frame = pd.DataFrame({"<i>": ["a & b", '"q"']}, index=["<script>alert(1)</script>", "1 ± 2 k-hat"])
    blocks = [Table(frame, "<caption>"), Notes(["<li>"]), Paragraph("<p>")]
    html = page("<b>", "a < b", ["c > d"], {"E & F": blocks}, ["<em>"])
    parsed = Page(html)
    assert parsed.tables[0] == [["", "<i>"], ["<script>alert(1)</script>", "a & b"], ["1\u00a0±\u00a02 k\u2011hat", '"q"']]
    assert "script" not in parsed.tags and "b" not in parsed.tags and "i" not in parsed.tags
    assert "em" not in parsed.tags and '<div class="warnings"><p>Warnings</p><ul><li>&lt;em&gt;</li></ul></div>' in html
    assert 'class="warnings"' not in page("a", "b", ["c"], {})
    assert parsed.links == ["#e-f"] and "<title>&lt;b&gt;</title>" in html and unescape("&lt;p&gt;") in parsed.text
