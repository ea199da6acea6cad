"""A process that is killed, or finds the disk full, at any step leaves every folder under its name, old or new, or to be recovered."""

import errno
import os
from pathlib import Path
import resource

from evaluations import evaluation_of, lognormal
import pytest
from test_replaced_folders import KIND, paint

from inference import save_checkpoint
from inference.files import atomic, folders, leftovers, replacing_file, swap
from inference.files.claims import claimed, dead_partials
from inference.files.folders import checked_folder, recover, replacing_folder
from inference.files.leftovers import FINISHED, LEFT_OVER, RUNNING, UNFINISHED, find_folders
from inference.files.manifest import read_manifest
from inference.scripts.cli import main
import pyro_lvm as lvm

STEPS = [(os, "replace"), (os, "fsync"), (swap, "swap"), (folders, "write_manifest"), (folders, "swap"), (folders, "remove_ours")]


def die_in_child(work, monkeypatch, module, name, number, *, after):
    """Run work in a child that is gone at the numbered call of a function; return whether it came so far."""
    child = os.fork()
    if child == 0:
        original, calls = getattr(module, name), []

        def dying(*args, **kwargs):
            calls.append(args)
            if len(calls) == number and not after:
                os._exit(9)
            result = original(*args, **kwargs)
            if len(calls) == number:
                os._exit(9)
            return result

        setattr(module, name, dying)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("module", "name"), STEPS, ids=lambda step: step if isinstance(step, str) else "")
def test_a_process_killed_at_any_step_loses_no_folder(tmp_path, monkeypatch, module, name, after, exchange):
    if not exchange:
        monkeypatch.setattr(swap, "_exchange", lambda one, other: False)
    monkeypatch.setattr(leftovers, "_QUIET_SECONDS", 0)
    for number in range(1, 30):
        out = tmp_path / str(number) / "out"
        paint(out, "old")
        reached = die_in_child(lambda out=out: paint(out, "new", overwrite=True), monkeypatch, module, name, number, after=after)
        recover(out)
        assert (out / "picture.txt").read_text() in ("old", "new") and read_manifest(out) is not None
        paint(out, "newest", overwrite=True)  # nothing that is left over blocks
        assert (out / "picture.txt").read_text() == "newest"
        for found in find_folders(out.parent, [KIND], worth_keeping="precious"):
            if found.state in (LEFT_OVER, UNFINISHED):
                assert found.remove()
        assert list(out.parent.iterdir()) == [out]
        if not reached:
            return
    raise AssertionError("the work has more steps than were tried")


@pytest.mark.parametrize("exchange", [True, False])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(swap, "_exchange", lambda one, other: False)
    out, original = paint(tmp_path / "out", "old"), os.fsync
    for number in range(1, 30):
        calls = []

        def full(descriptor, calls=calls, number=number):
            calls.append(descriptor)
            if len(calls) == number and not os.path.isdir(f"/proc/self/fd/{descriptor}"):
                raise OSError(errno.ENOSPC, "No space left on device")
            original(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        try:
            paint(out, "new", overwrite=True)
        except OSError as error:
            assert "No space left on device" in str(error)
            assert (out / "picture.txt").read_text() == "old"
        if len(calls) < number:
            break
        monkeypatch.setattr(os, "fsync", original)
        paint(out, "old", overwrite=True)
    assert number > 5


def test_a_file_that_cannot_be_written_is_named_and_the_old_one_kept(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    refused = pytest.raises(OSError, match=r"a.txt cannot be written: No space left on device. What was there before is kept")
    with refused, replacing_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("ne")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def vae(num_dims: int) -> lvm.VAE:
    likelihood = lvm.BernoulliLikelihood(lvm.MLP(2, [3], num_dims))
    return lvm.VAE(prior=lvm.StandardNormal(2), likelihood=likelihood, encoder=lvm.NormalEncoder(lvm.MLP(num_dims, [3], 4)))


WRITES = {
    "a checkpoint": lambda path, size: save_checkpoint(vae(size), path),
    "a score": lambda path, size: evaluation_of(lognormal(size)).to_netcdf(path),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_limit_on_the_size_of_files_leaves_the_old_one(what, tmp_path):
    path, write = tmp_path / "a.file", WRITES[what]
    write(path, 2)
    before = path.read_bytes()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write(path, 99)
        except OSError as error:
            os._exit(9 if f"{path} cannot be written: File too large." in str(error) else 1)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_what_others_left_never_blocks(tmp_path):
    out = paint(tmp_path / "out")
    for name in ("out.partial", "out.partial2", "out.partial.old", "out.partial3.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    (out / ".123-456.part.nc").touch()
    paint(out, "red", overwrite=True)
    assert (out / "picture.txt").read_text() == "red" and (tmp_path / "out.partial.old" / "x").exists()
    assert [found.path for found in find_folders(tmp_path, [KIND], worth_keeping="precious")] == [out]


def test_a_living_process_is_told_from_a_dead_one(tmp_path):
    out = tmp_path / "out"
    with claimed(out, "paint") as partial:
        assert dead_partials(out) == []
        assert [found.state for found in find_folders(tmp_path, [KIND], worth_keeping="precious")] == [RUNNING]
    assert dead_partials(out) == [partial]
    assert [found.state for found in find_folders(tmp_path, [KIND], worth_keeping="precious")] == [LEFT_OVER]


def test_an_interruption_keeps_what_is_worth_it(tmp_path):
    out = checked_folder(tmp_path / "out", KIND, overwrite=False)
    for name, left in {"cheap": [], "precious": ["out.partial"]}.items():
        with pytest.raises(KeyboardInterrupt), replacing_folder(out, KIND, overwrite=False, worth_keeping="precious") as new:
            (new / name).touch()
            raise KeyboardInterrupt
        assert [path.name for path in tmp_path.iterdir()] == left


def test_runs_are_listed_and_left_overs_removed(tmp_path, capsys):
    def listed(*options):
        main(["runs", str(tmp_path), *options])
        return {
            Path(line.split()[line.split().index("MB") + 3]).name: line for line in capsys.readouterr().out.splitlines() if " MB " in line
        }

    version_0_1 = Path(__file__).parents[1] / "runs" / "version_0_1" / "vamp"
    (tmp_path / "vamp").mkdir()
    for path in version_0_1.iterdir():
        (tmp_path / "vamp" / path.name).write_bytes(path.read_bytes())
    with claimed(tmp_path / "killed", "train") as killed:
        (killed / "checkpoint.safetensors").touch()
    with claimed(tmp_path / "begun", "train") as begun:
        (begun / "config.yaml").touch()
    (tmp_path / "vamp" / ".99999999-1.part.nc").touch()
    os.utime(tmp_path / "vamp" / ".99999999-1.part.nc", (0, 0))
    states = {name: next(state for state in (UNFINISHED, FINISHED, LEFT_OVER) if state in line) for name, line in listed().items()}
    assert states == {"vamp": FINISHED, "killed.partial": UNFINISHED, "begun.partial": LEFT_OVER, ".99999999-1.part.nc": LEFT_OVER}
    assert "removed" in listed("--clean")["begun.partial"] and not begun.exists() and killed.exists()
    (killed / "notes").touch()
    assert "kept, as it holds files of others" in listed("--clean", "--unfinished")["killed.partial"]
    assert list(killed.iterdir()) == [killed / "notes"] and (tmp_path / "vamp" / "checkpoint.safetensors").exists()


def test_temporary_files_have_names_that_are_known(tmp_path):
    with replacing_file(tmp_path / "score.csv.gz") as temporary:
        assert atomic.TEMPORARY.fullmatch(temporary.name)
        temporary.touch()
