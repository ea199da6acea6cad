"""What a sweep's folder remembers, and how it is listed."""

from pathlib import Path
import shutil

import pandas as pd
import pytest
from shell import refusal, say
from test_resuming_commands import TINY, in_this_process
import yaml

from inference.files.claims import claimed
from inference.files.leftovers import FINISHED, RUNNING, UNFINISHED
from inference.runs import sweep as sweeps
from inference.runs.progress import FAILED, find_sweeps

FINISHED_RUN = Path(__file__).parents[1] / "runs" / "version_0_1" / "vamp"


@pytest.fixture
def half_done(tmp_path):
    """A sweep with one run finished, one killed, one failed, and one not begun."""
    folder = tmp_path / "runs" / "s"
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(yaml.safe_dump({name: {"fit.seed": name} for name in ("done", "killed", "failed", "waiting")}))
    shutil.copytree(FINISHED_RUN, folder / "done")
    with claimed(folder / "killed", "train") as killed:
        (killed / "checkpoint.safetensors").touch()
    (folder / "done.log").write_text("epoch 1\nWrote done.\n")
    (folder / "failed.log").write_text("epoch 1\nerror: out of memory\n")
    return folder


def test_a_sweep_is_listed_with_its_runs(half_done, capsys):
    (sweep,) = find_sweeps(half_done.parent)
    assert sweep.states == {"done": FINISHED, "killed": UNFINISHED, "failed": FAILED, "waiting": UNFINISHED} and sweep.state == UNFINISHED
    lines = [line.split() for line in say(capsys, "runs {}", half_done.parent).splitlines()]
    assert [(line[0], line[1], Path(line[6].rstrip(":")).name) for line in lines] == [
        ("sweep", UNFINISHED, "s"),
        ("train", FAILED, "failed"),
        ("train", FINISHED, "done"),
        ("train", UNFINISHED, "killed.partial"),
    ]
    assert lines[0][7:] == ["(1", "of", "4", "runs", "finished,", "1", "failed)"] and lines[1][7:] == ["error:", "out", "of", "memory"]
    with claimed(half_done / "waiting", "train"):
        assert next(find_sweeps(half_done)).state == RUNNING


def test_only_left_overs_of_a_sweep_are_removed(half_done, capsys):
    before = sorted(half_done.rglob("*"))
    say(capsys, "runs {} --clean", half_done.parent)
    assert sorted(half_done.rglob("*")) == before
    say(capsys, "runs {} --clean --unfinished", half_done.parent)
    assert sorted(half_done.rglob("*")) == [path for path in before if "killed.partial" not in path.parts]


def test_files_of_others_with_the_name_of_a_sweep_are_passed_over(tmp_path, capsys):
    for text in ("program: train.py\nmethod: grid\n", "- a list\n", "\x00"):
        (tmp_path / "sweep.yaml").write_text(text)
        assert "No runs" in say(capsys, "runs {}", tmp_path)
    assert "sweep.yaml is damaged" in refusal(capsys, f"sweep --over seed 0 1 --out {tmp_path}")


def test_a_sweep_given_again_with_other_values_forgets_no_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweeps, "run_jobs", in_this_process)
    words = f"sweep --fit.epochs 1 {TINY} --evaluate.num_particles 5 --baselines false --out {tmp_path}/s --over model.prior"
    say(capsys, f"{words} standard --over seed 0 1")
    said = say(capsys, f"{words} mixture --over seed 1")
    assert "left out of this comparison, as not asked for: standard-seed0, standard-seed1." in said
    assert list(pd.read_csv(tmp_path / "s" / "comparison.csv", index_col=0).index) == ["mixture-seed1"]
    assert list(yaml.safe_load((tmp_path / "s" / "sweep.yaml").read_text())) == ["standard-seed0", "standard-seed1", "mixture-seed1"]
    said = say(capsys, f"{words} standard,mixture --over seed 1")
    assert "not asked for: standard-seed0." in said and not [line for line in said.splitlines() if line.startswith("epoch")]
