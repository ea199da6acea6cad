"""The programs of docs/skeletons run as they stand."""

from pathlib import Path
import runpy

import pytest
import torch

SKELETONS = sorted((Path(__file__).resolve().parent.parent / "docs" / "skeletons").glob("*.py"))
PLUGIN = "my_parts"  # registers parts, as tests/scripts/test_plugins.py shows


@pytest.mark.parametrize("path", [path for path in SKELETONS if path.stem != PLUGIN], ids=lambda path: path.stem)
def test_a_skeleton_runs_and_prints_a_score(path, capsys):
    with torch.random.fork_rng():
        runpy.run_path(str(path))
    assert "log p(x) = -" in (printed := capsys.readouterr().out) or "log_px" in printed


def test_where_things_live_names_every_skeleton_and_only_files_that_exist():
    docs = SKELETONS[0].parent.parent
    text = (docs / "where-things-live.md").read_text()
    assert all(f"skeletons/{path.name}" in text for path in SKELETONS)
    root = docs.parent
    for word in text.replace("|", " ").replace("`", " ").split():
        name = word.strip(",;.()")
        if name.startswith(("pyro_lvm/", "inference/", "tests/")) and "*" not in name:
            assert (root / name).exists() or (root / f"{name}.py").exists(), name
