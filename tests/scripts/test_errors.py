"""How a command ends when it fails: one line, a status, and a traceback in a file."""

import os
from pathlib import Path
import signal
from types import SimpleNamespace

import pytest
import torch

from inference.scripts import cli
from inference.scripts.cli import main


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """A function that lets commands fail with an error."""

    def fail_with(error: BaseException) -> None:
        def script(args: object) -> None:
            raise error

        monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(main=script))

    return fail_with


def ending(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    """Status and lines of a command that fails."""
    with pytest.raises(SystemExit) as exit:
        main(words)
    return exit.value.code, capsys.readouterr().err.splitlines()


def test_the_traceback_of_an_unexpected_error_lies_beside_the_run(failing, capsys, tmp_path: Path) -> None:
    failing(KeyError("prior"))
    for place in (["--out", str(tmp_path / "run")], [f"--out={tmp_path / 'run'}"]):
        status, lines = ending(capsys, "train", *place)
        (file,) = tmp_path.iterdir()
        assert status == 1 and lines == [f"error: unexpected KeyError: 'prior'; the traceback is in {file}."]
        assert "in script" in file.read_text() and "KeyError: 'prior'" in file.read_text()
        file.unlink()


def test_the_traceback_goes_to_the_temporary_folder_if_the_other_is_not_there(failing, capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing(RuntimeError("two\nlines"))
    status, lines = ending(capsys, "train", "--out", str(tmp_path / "absent" / "run"))
    (file,) = tmp_path.iterdir()
    assert status == 1 and lines == [f"error: unexpected RuntimeError: two; the traceback is in {file}."]


def test_debug_shows_tracebacks_of_all_errors(failing, capsys, tmp_path: Path) -> None:
    for error, status in ((KeyError("prior"), 1), (ValueError("wrong"), 2)):
        failing(error)
        got, lines = ending(capsys, "train", "--out", str(tmp_path / "run"), "--debug")
        assert got == status and lines[0].startswith("Traceback") and lines[-1].startswith("error: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [MemoryError(), MemoryError("Unable to allocate 7 TiB"), torch.OutOfMemoryError("CUDA out of memory. Tried\nmore")]
)
def test_out_of_memory_says_what_to_lower(error: BaseException, failing, capsys) -> None:
    failing(error)
    status, (line,) = ending(capsys, "evaluate", "run")
    assert status == 2 and line.startswith("error: out of memory") and "Lower what takes memory: --fit.batch_size" in line


def test_memory_that_torch_cannot_have(failing, capsys) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    failing(caught.value)
    assert "Lower what takes memory" in ending(capsys, "evaluate", "run")[1][0]


def test_sigterm_ends_as_an_interruption_does(capsys, monkeypatch, tmp_path: Path) -> None:
    def script(args: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        except BaseException as error:
            error.add_note("Kept.")
            raise

    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(main=script))
    before = signal.getsignal(signal.SIGTERM)
    assert ending(capsys, "evaluate", "run") == (143, ["terminated. Kept."])
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_unknown_command_names_the_nearest(capsys) -> None:
    status, (line,) = ending(capsys, "trian")
    assert status == 2 and line.endswith("got 'trian'. Did you mean train?")
