"""The programs of docs/calibration.md run as they stand, and print what the page says."""

from pathlib import Path
import re

import pyro
import pytest

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "calibration.md").read_text()


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    first, _ = re.findall(r"prints\n\n```\n(.*?)```", PAGE, re.S)
    scope: dict[str, object] = {}
    for program in programs:
        exec(compile(program.replace("num_repeats=200", "num_repeats=20"), "calibration.md", "exec"), scope)
    printed = capsys.readouterr().out
    assert all(line in printed for line in first.splitlines() if line.endswith("."))
    assert "IWAE(64)" in printed and {path.name for path in tmp_path.iterdir()} == {"narrow.png", "noise.png"}
    pyro.clear_param_store()
