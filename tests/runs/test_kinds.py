"""What version 0.1 wrote is known by its names, and comparisons of different files go to different folders."""

from pathlib import Path

import pytest

from inference.files.contents import strangers
from inference.files.folders import checked_folder
from inference.runs.kinds import COMPARISON, RUN, default_out

VERSION_0_1 = Path(__file__).parent / "version_0_1"


@pytest.mark.parametrize("name", ["standard", "vamp", "flows", "codes", "levels", "topics"])
def test_runs_of_version_0_1_can_be_replaced(name):
    assert strangers(VERSION_0_1 / name, RUN) == []
    assert checked_folder(VERSION_0_1 / name, RUN, overwrite=True) == VERSION_0_1 / name
    with pytest.raises(ValueError, match="with --overwrite"):
        checked_folder(VERSION_0_1 / name, RUN, overwrite=False)


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        ("maf/test-K1000-seed0-auto.nc", True),
        ("standard/expost-flow/samples/arrays.npz", True),
        ("mine/checkpoint.safetensors", False),
        ("standard/notes.txt", False),
        ("comparison.csv.bak", False),
    ],
)
def test_files_of_a_comparison_are_told_from_others(path, is_ours):
    assert (COMPARISON.names.fullmatch(path) is not None) == is_ours


def test_files_of_one_name_have_comparisons_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_out("digits") == Path("runs/compare-digits")
    assert default_out("a/data.csv").name.startswith("compare-data-") and default_out("a/data.csv") != default_out("b/data.csv")
    assert default_out("a/data.csv") == default_out(str(tmp_path / "a" / "data.csv"))
