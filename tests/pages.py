"""What stands on a page of HTML."""

from html.parser import HTMLParser
import re


class Page(HTMLParser):
    """The tables, links and pictures of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sources, self.links, self.tags, self.tables, self.text = [], [], [], [], []
        self.is_in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append(tag)
        attributes = dict(attributes)
        self.sources += [attributes[name] for name in ("src", "srcset", "data", "poster") if name in attributes]
        self.links += [attributes["href"]] if "href" in attributes else []
        assert tag != "img" or attributes["alt"]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
            self.is_in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.is_in_cell &= tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.is_in_cell:
            self.tables[-1][-1][-1] += data


def check_self_contained(html: str) -> Page:
    parsed = Page(html)
    assert parsed.sources and all(source.startswith("data:image/png;base64,") for source in parsed.sources)
    assert parsed.links and all(link.startswith("#") for link in parsed.links)
    assert not {"script", "link", "iframe", "object"} & set(parsed.tags)
    assert "http" not in re.sub(r"base64,[^\"]*", "", html) and "url(" not in html and "@import" not in html
    for link in parsed.links:
        assert f'id="{link[1:]}"' in html
    return parsed
