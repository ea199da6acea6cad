"""The pages of the site can be found, their links lead somewhere, and every public name has its entry."""

from os.path import normpath
from pathlib import Path
import re

import pytest
import yaml

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
    return {normpath(folder / entry) for entry in entries}


def words(text: str) -> str:
    """A text without its programs."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)


def linked(path: Path) -> set[Path]:
    """The files of the repository to which the plain Markdown links of a page lead."""
    if path.suffix != ".md":
        return set()
    targets = re.findall(r"\]\((?!https?://)([^)#\s]+)", words(path.read_text()))
    return {(path.parent / target).resolve() for target in targets}


def clicks() -> dict[Path, int]:
    """The files that plain Markdown links reach from README.md, as on a code host, with the fewest clicks."""
    reached, front = {ROOT / "README.md": 0}, {ROOT / "README.md"}
    while front:
        front = {target for path in front for target in linked(path)} - set(reached)
        reached |= dict.fromkeys(front, max(reached.values()) + 1)
    return reached


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_at_most_two_clicks_from_the_front_page() -> None:
    sections = listed("index")
    assert {"index"} | sections | {page for section in sections for page in listed(section)} == set(NAMES), (
        "list it on the index page of its section, under the links and in the table of contents"
    )


def test_index_pages_link_what_their_tables_of_contents_list() -> None:
    for section in listed("index"):
        links = {path.with_suffix("") for path in linked(DOCS / f"{section}.md")}
        assert {DOCS / page for page in listed(section) - {"changelog"}} <= links


def test_every_page_is_at_most_three_clicks_from_the_readme() -> None:
    """By plain Markdown links; a page that only includes a file of the root is that file there, and the site's front page the readme."""
    pages = {*PAGES, *DOCS.glob("examples/*.py"), *DOCS.glob("skeletons/*.py"), ROOT / "CITATION.cff"}
    pages -= {DOCS / f"{name}.md" for name in ("index", "changelog", "contributing")}
    pages |= {ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md")}
    reached = clicks()
    far = sorted(str(page.relative_to(ROOT)) for page in pages if reached.get(page, 4) > 3)
    assert not far, "link it on the index page of its section"


@pytest.mark.parametrize(
    "page",
    ["explanations/which_prior", "explanations/differences", "reference/cite"]
    + [f"how-to/{name}" for name in ("paper", "own-prior", "gpu", "large-data", "codes-in-scikit-learn", "own-table", "missing-values")],
)
def test_what_is_asked_most_is_at_most_two_clicks_from_the_readme(page: str) -> None:
    assert clicks()[DOCS / f"{page}.md"] <= 2


def test_the_citation_is_the_file_and_its_figures() -> None:
    page, file = (DOCS / "reference" / "cite.md").read_text(), (ROOT / "CITATION.cff").read_text()
    citation = yaml.safe_load(file)
    author, title, version = citation["authors"][0]["name"], citation["title"], citation["version"]
    assert f"```yaml\n{file}```" in page
    assert f"> {author}. {title}: latent variable models in Pyro, version {version}. {citation['license']} license." in page
    assert f"author = {{{{{author}}}}}" in page and f"title = {{{title}: latent" in page and f"version = {{{version}}}" in page


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
