"""The commands and programs of docs/new_data.md run as they stand."""

from pathlib import Path
import re

import numpy as np
import pandas as pd
import pytest

from inference.scripts.cli import main

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "new_data.md").read_text()


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    blocks = re.findall(r"```(python|console)\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 6
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, "new_data.md", "exec"), scope)
            continue
        for line in block.splitlines():
            main(line.removeprefix("$ pyro-lvm ").split())
    gaps, filled = pd.read_csv("gaps.csv"), pd.read_csv("filled.csv")
    assert gaps.isna().to_numpy().any() and not filled.isna().to_numpy().any()
    np.testing.assert_allclose(pd.read_csv("codes.csv"), scope["codes"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pd.read_csv("again.csv"), scope["again"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(filled, scope["filled"].draws[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pd.read_csv("scores.csv")["log_px"], scope["scores"].log_px, rtol=1e-6)
