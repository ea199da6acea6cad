"""The notebooks of docs/notebooks run as programs, in the short mode, and hold what their sources print.

A notebook is a program in percent form, ``NAME.py``, and what Jupyter made of it in full, ``NAME.ipynb`` (``make notebooks``). With
``PYRO_LVM_SHORT=1`` in the environment it takes a few seconds: its first cell has the line ``SHORT``, by which it chooses numbers, such
as those of epochs and of draws, and nothing else. Every figure of pyplot ends with ``plt.show()``.
"""

import json
from pathlib import Path
import re
import runpy

import matplotlib.pyplot as plt
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
SHORT = 'SHORT = os.environ.get("PYRO_LVM_SHORT") == "1"'
MACHINE = re.compile(r"(?<![\w.~/:-])/(?:home|root|tmp|Users|work|opt|usr|var)/")


def cells(program):
    """The cells of a program in percent form, as pairs of a kind and a source."""
    for part in re.split(r"^# %%", program, flags=re.MULTILINE)[1:]:
        title, _, source = part.partition("\n")
        is_text = title.strip() == "[markdown]"
        assert is_text or not title.strip(), f"a cell begins with '# %%{title}', which is neither code nor [markdown]"
        yield ("markdown", re.sub("^# ?", "", source, flags=re.MULTILINE).strip()) if is_text else ("code", source.strip())


def executed(name):
    return json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]


def texts(output):
    """What an output says in words: all of it but pictures."""
    yield "".join(output.get("text", ""))
    yield from ("".join(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/"))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name, monkeypatch, tmp_path):
    monkeypatch.setenv("PYRO_LVM_SHORT", "1")
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    with plt.rc_context():
        after = runpy.run_path(str(FOLDER / f"{name}.py"))
    assert after["SHORT"] is True
    assert not plt.get_fignums(), "a picture is not shown: end it with plt.show()"


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_holds_its_sources(name):
    sources = list(cells((FOLDER / f"{name}.py").read_text()))
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in executed(name)] == sources, "out of date: make notebooks"
    first = next(source for kind, source in sources if kind == "code")
    assert SHORT in first.splitlines(), f"the first cell of code needs the line {SHORT}"


@pytest.mark.parametrize("name", NAMES)
def test_the_outputs_of_a_notebook_can_be_shown(name):
    code = [cell for cell in executed(name) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "not run once from top to bottom: make notebooks"
    outputs = [output for cell in code for output in cell["outputs"]]
    assert outputs
    for output in outputs:
        assert output["output_type"] != "error", output["evalue"]
        assert output.get("name") != "stderr", output["text"]
        assert not any(MACHINE.search(text) for text in texts(output)), output
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 3_000_000, "too large for the repository: fewer or smaller pictures"
