"""The pages of the site can be found, their links lead somewhere, and every public name has its entry."""

from fnmatch import fnmatch
from os.path import normpath
from pathlib import Path
import re

import pytest

import inference
from inference.scripts.cli import COMMANDS
import pyro_lvm
import pyro_lvm.testing

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for kind in ("md", "ipynb") for path in DOCS.rglob(f"*.{kind}") if "_build" not in path.parts)
NAMES = [str(page.relative_to(DOCS).with_suffix("")) for page in PAGES]
TEXTS = [path for path in [*PAGES, *ROOT.glob("*.md")] if path.suffix == ".md"]


def listed(page: str) -> set[str]:
    """The pages that the tables of contents of a page name."""
    text, folder = (DOCS / f"{page}.md").read_text(), Path(page).parent
    entries = [line for block in re.findall(r"```\{toctree\}\n(.*?)```", text, re.S) for line in block.split() if line[0] != ":"]
    patterns = [normpath(folder / entry) for entry in entries]
    return {name for name in NAMES for pattern in patterns if fnmatch(name, pattern) and name != page}


def words(text: str) -> str:
    """A text without its programs."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_at_most_two_clicks_from_the_front_page() -> None:
    sections = listed("index")
    pages = {"index"} | sections | {page for section in sections for page in listed(section)}
    assert not set(NAMES) - pages, "list it on the index page of its section, or in a folder that one takes all of"


@pytest.mark.parametrize("section", ["tutorials", "how-to/index", "explanations/index", "reference/index"])
def test_the_front_page_has_a_card_for_every_section(section: str) -> None:
    assert f":link: {section}\n" in (DOCS / "index.md").read_text()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", words(path.read_text())):
        place, _, anchor = target.partition("#")
        file = (path.parent / place) if place else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("package", [pyro_lvm, inference, pyro_lvm.testing], ids=lambda package: package.__name__)
def test_every_public_name_has_one_entry(package: object) -> None:
    blocks = [
        block for page in DOCS.glob("reference/*.md") for block in re.findall(r"currentmodule:: ([\w.]+)\n(.*?)```", page.read_text(), re.S)
    ]
    entries = [name for module, block in blocks if module == package.__name__ for name in re.findall(r"^   (\w+)$", block, re.M)]
    assert sorted(entries) == sorted(package.__all__), "a line of a page in docs/reference"


def test_every_command_has_its_options_on_a_page() -> None:
    page = (DOCS / "reference" / "command_line.md").read_text()
    assert re.findall(r"inference\.scripts (\w+) --help", page) == list(COMMANDS)


def test_the_errors_explained_are_those_of_the_code() -> None:
    code = "\n".join(path.read_text() for package in ("pyro_lvm", "inference") for path in (ROOT / package).rglob("*.py"))
    rows = re.findall(r"^\| (`[^|]*`) \|", (DOCS / "reference" / "errors.md").read_text(), re.M)
    assert len(rows) >= 20
    for row in rows:
        for part in re.findall(r"`(.*?)`", row):
            missing = [piece for piece in part.split(" ... ") if piece not in code]
            assert not missing, f"no message has {missing}"


@pytest.mark.parametrize("page", [path for path in PAGES if path.suffix == ".md"], ids=lambda page: str(page.relative_to(DOCS)))
def test_headings_have_no_links(page: Path) -> None:
    """Sphinx makes no table of contents of them."""
    assert not re.search(r"^#+ .*\]\(", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M)
