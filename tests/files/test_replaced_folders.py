"""Folders are replaced only if everything in them was written here, and only on request; others are named and kept."""

import json
import os
from pathlib import Path
import re
import stat

import pytest
from safetensors.torch import save_file
from shell import contents
import torch

from inference.files import replacing_file, write_yaml
from inference.files.contents import Kind, remove_ours, strangers
from inference.files.folders import checked_folder, replacing_folder
from inference.files.manifest import MANIFEST, read_manifest

KIND = Kind("paint", ("picture.txt",), re.compile(r"picture\.txt|score\.yaml|sub/(picture|more)\.txt|manifest\.json|unfinished\.json"))
OTHER = Kind("sing", ("song.txt",), re.compile(r"song\.txt"))


def paint(out: Path, text: str = "blue", *, overwrite: bool = False, **places: object) -> Path:
    folder = checked_folder(out, KIND, overwrite=overwrite, **places)
    with replacing_folder(folder, KIND, overwrite=overwrite, worth_keeping="precious") as new:
        (new / "picture.txt").write_text(text)
        (new / "sub").mkdir()
        (new / "sub" / "more.txt").write_text(text)
    return folder


def test_a_folder_is_replaced_on_request_only(tmp_path):
    out = paint(tmp_path / "out")
    assert read_manifest(out).files.keys() == {"picture.txt", "sub/more.txt"} and read_manifest(out).command == "paint"
    with pytest.raises(ValueError, match=f"{out} already exists. .*--overwrite"):
        paint(out, "red")
    assert (out / "picture.txt").read_text() == "blue"
    paint(out, "red", overwrite=True)
    assert (out / "picture.txt").read_text() == "red"
    assert list(tmp_path.iterdir()) == [out] and sorted(contents(out)) == ["manifest.json", "picture.txt", "sub/more.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["thesis.tex", "sub/thesis.tex", "sub/picture.txt", ".hidden", "score.yaml", "deep/er/notes"])
def test_what_others_wrote_is_named_and_kept(tmp_path, name, overwrite):
    out = paint(tmp_path / "out")
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"{re.escape(name)} was not written by it"):
        paint(out, overwrite=overwrite)
    assert contents(tmp_path) == before


def test_a_file_that_was_edited_is_kept(tmp_path):
    out = paint(tmp_path / "out")
    (out / "picture.txt").write_text("BLUE")
    with pytest.raises(ValueError, match=r"picture.txt was not written by it, or has been changed since, and is kept"):
        paint(out, overwrite=True)


def test_links_are_strangers(tmp_path):
    out = paint(tmp_path / "out")
    (tmp_path / "target").mkdir()
    (out / "one").symlink_to(tmp_path / "target")
    (out / "two").symlink_to(tmp_path / "nowhere")
    assert strangers(out, KIND) == ["one", "two"]
    assert not remove_ours(out, KIND) and sorted(os.listdir(out)) == ["one", "two"]


def test_strangers_who_come_during_the_work_are_kept(tmp_path):
    out = paint(tmp_path / "out")
    with (
        pytest.raises(ValueError, match="notes was not written by it") as refused,
        replacing_folder(  # noqa: PT012
            out, KIND, overwrite=True, worth_keeping="precious"
        ) as new,
    ):
        (new / "picture.txt").write_text("red")
        (out / "notes").touch()
    assert refused.value.__notes__ == [f"The work done so far is kept in {tmp_path / 'out.partial'}."]
    assert (out / "picture.txt").read_text() == "blue" and (tmp_path / "out.partial" / "picture.txt").read_text() == "red"


def test_files_added_later_are_listed(tmp_path):
    out = paint(tmp_path / "out")
    write_yaml(out / "score.yaml", {"log_px": 1})
    with replacing_file(out / "sub" / "picture.txt") as temporary:
        temporary.write_text("late")
    assert strangers(out, KIND) == []
    write_yaml(out / "score.yaml", {"log_px": 2})
    assert strangers(out, KIND) == [] and len(read_manifest(out).files["score.yaml"]) == 2  # a crash may leave either
    paint(out, "red", overwrite=True)
    assert not (out / "score.yaml").exists()


def test_folders_of_other_commands_are_kept(tmp_path):
    out = paint(tmp_path / "out")
    with pytest.raises(ValueError, match="is not what pyro-lvm sing writes"):
        checked_folder(out, OTHER, overwrite=True)


def test_without_a_manifest_names_decide(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "score.yaml").touch()
    with pytest.raises(ValueError, match="is not what pyro-lvm paint writes"):
        checked_folder(tmp_path / "old", KIND, overwrite=True)
    (tmp_path / "old" / "picture.txt").touch()
    checked_folder(tmp_path / "old", KIND, overwrite=True)
    (tmp_path / "old" / MANIFEST).write_text(json.dumps({"name": "a web page"}))
    with pytest.raises(ValueError, match="manifest.json was not written by it"):
        checked_folder(tmp_path / "old", KIND, overwrite=True)


def test_links_to_folders_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    paint(tmp_path / "link")
    paint(tmp_path / "link", "red", overwrite=True)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "picture.txt").read_text() == "red"
    (tmp_path / "new").symlink_to("later/still")
    paint(tmp_path / "new")
    assert (tmp_path / "later" / "still" / "picture.txt").is_file()


def test_places_that_cannot_be_are_refused_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "current").mkdir()
    run = paint(tmp_path / "runs" / "run")
    monkeypatch.chdir(tmp_path / "current")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != Path.cwd())
    for out, message in {
        tmp_path / "file": "must be a folder; got a file",
        tmp_path / "file" / "out": "is not a folder",
        tmp_path / "loop": "links that lead to one another",
        Path("."): "current folder",
        tmp_path: "current folder",
        Path("out"): "no permission",
        run / "inside": "lies in .*run, which pyro-lvm has written",
        run.parent: "is or holds a run",
        run: "is or holds a run",
        Path("/"): "current folder",
    }.items():
        with pytest.raises((ValueError, OSError), match=message):
            checked_folder(out, KIND, overwrite=True, beside=[run])
    assert checked_folder(run / "inside", KIND, overwrite=False, within=run) == run / "inside"


def test_modes_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing_file(tmp_path / "weights.safetensors") as temporary:
            save_file({"a": torch.zeros(1)}, temporary)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "weights.safetensors").stat().st_mode) == 0o640
