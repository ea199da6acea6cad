"""Commands that are killed, or find the disk full, at chosen steps: nothing is lost, and what goes on ends with the same bits."""

from functools import cache

from kills import SHORT, TINY, Kind, full_at, killed_at_steps, run, uninterrupted
import pytest
from steps import FULL, HALF, KILL, LIMIT, Steps
from test_resuming_commands import in_this_process

from inference.files import leftovers
from inference.runs import sweep as sweeps
from inference.scripts.cli import main
from inference.svi import state

KINDS = {
    "train": Kind(SHORT),
    "evaluate": Kind(("evaluate", "{}/run", "--num_particles=5"), [(*SHORT[:-1], "--fit.epochs=1")]),
    "sample": Kind(("sample", "{}/run", "--num_draws=4", "--overwrite"), [(*SHORT[:-1], "--fit.epochs=1"), ("sample", "{}/run")]),
}
SWEEP = ("sweep", "--out={}/all", "--over", "model.prior", "standard", "mixture", "--over", "seed", "0", "1", "--fit.epochs=2")
SWEEP = (*SWEEP, *TINY, "--baselines=false", "--evaluate.num_particles=10")


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory):
    """All that the commands import is there before the first copy of this process, so that not every copy imports it."""
    folder = tmp_path_factory.mktemp("imported")
    for words in (SHORT, KINDS["evaluate"].words, KINDS["sample"].words):
        main([word.format(folder) for word in words])


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(state, "_EVERY", 0.0)
    monkeypatch.setattr(leftovers, "_QUIET_SECONDS", 0)


@cache
def whole(kind: str) -> tuple[dict[str, object], list[str]]:
    """What an uninterrupted command ends with, and its steps."""
    return uninterrupted(KINDS[kind])[:2]


def number_of(step: str, kind: str) -> int:
    """The number of a step; to write a file is to open the temporary one that gets its name next."""
    what, _, name = step.partition(" ")
    steps = whole(kind)[1]
    place = steps.index(f"rename {name}" if what == "write" else step)
    opens = [number for number, own in enumerate(steps[:place], start=1) if own.startswith("open")]
    return opens[-1] if what == "write" else place + 1


@pytest.mark.parametrize(
    ("kind", "kills"),
    [
        ("train", [("write run.partial/checkpoint.last.safetensors", HALF), ("rename run.partial/unfinished.json", KILL)]),
        ("train", [("remove run/unfinished.json", KILL)]),
        ("evaluate", [("write run/test-K5-seed0-auto.nc", HALF), ("rename run/manifest.json", KILL)]),
    ],
)
def test_what_is_killed_goes_on_to_the_same_bits(kind, kills):
    assert killed_at_steps(KINDS[kind], whole(kind)[0], [(number_of(step, kind), what) for step, what in kills]) == ""


@pytest.mark.parametrize(
    ("kind", "step", "what"),
    [
        ("train", "write run.partial/unfinished.json", LIMIT),
        ("train", "open run.partial/history.csv", LIMIT),
        ("train", "fsync run.partial/config.yaml", FULL),
        ("sample", "write run/samples.partial/samples.png", LIMIT),
    ],
)
def test_a_full_disk_is_told_of_in_a_line_and_loses_nothing(kind, step, what):
    assert full_at(KINDS[kind], whole(kind)[0], number_of(step, kind), what) == ""


def test_a_sweep_that_is_killed_twice_gives_the_same_table(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "run_jobs", in_this_process)
    tables = {}
    for name in ("whole", "killed"):
        folder = tmp_path / name
        for at in (150, 250) if name == "killed" else ():
            assert run(SWEEP, folder, Steps(tmp_path, at)).status is None
        assert run(SWEEP, folder).status == 0
        tables[name] = (folder / "all" / "comparison.csv").read_bytes()
    assert tables["whole"] == tables["killed"]
