"""The programs of pages run as they stand, from the first to the last of a page."""

from pathlib import Path
import re

import pyro
import pytest

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = ("index", "codes", "fitted_priors", "labels", "pairs")
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in SUBJECTS), *sorted((ROOT / "docs" / "explanations").glob("*.md"))]
PROGRAMS = {str(page.relative_to(ROOT)): re.findall(r"```python\n(.*?)```", page.read_text(), re.S) for page in PAGES}


@pytest.mark.parametrize("page", [page for page, programs in PROGRAMS.items() if programs])
def test_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"__name__": page}
    for program in PROGRAMS[page]:
        exec(compile(program, page, "exec"), scope)
    pyro.clear_param_store()


def test_pages_have_programs() -> None:
    assert len(PROGRAMS["README.md"]) == 2 and all(PROGRAMS[f"docs/{name}.md"] for name in SUBJECTS)
