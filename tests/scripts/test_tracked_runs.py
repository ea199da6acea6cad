"""Runs whose histories TensorBoard shows too, and what commands write to logs that are no terminal."""

from pathlib import Path

import pandas as pd
import pytest
from shell import refusal

from inference.files.contents import strangers
from inference.runs import sweep as sweeps
from inference.runs.kinds import RUN
from inference.runs.run import _print_some
from inference.scripts.cli import main
from inference.scripts.commands import compare_command
from inference.svi import state
from inference.svi.loop import Loop

TINY = "--model.hidden [8] --model.latent_dim 2 --fit.batch_size 400"


@pytest.fixture(autouse=True)
def kept_after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_EVERY", 0.0)


def tracked(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Every curve in the log of a run, in the order in which it was written, with nothing left out."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    (file,) = (run / "tensorboard").iterdir()
    curves: dict[str, list[tuple[int, float]]] = {}
    for event in EventFileLoader(str(file)).Load():
        for value in event.summary.value:
            curves.setdefault(value.tag, []).append((event.step, float(make_ndarray(value.tensor))))
    return curves


def assert_is_history(run: Path) -> None:
    history, curves = pd.read_csv(run / "history.csv"), tracked(run)
    assert set(curves) == {*history} - {"epoch"}
    for name, curve in curves.items():
        assert [step for step, _ in curve] == history["epoch"].tolist()
        assert [value for _, value in curve] == pytest.approx(history[name].tolist(), rel=1e-6)


def test_the_log_is_the_history_of_the_run_and_belongs_to_it(tmp_path: Path, capsys) -> None:
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    main(f"train --out {run} --fit.epochs 2 --track tensorboard {TINY}".split())
    assert_is_history(run)
    assert strangers(run, RUN) == []
    main(f"train --out {run} --fit.epochs 1 --overwrite {TINY}".split())
    assert not (run / "tensorboard").exists()
    (run / "tensorboard").mkdir()
    (run / "tensorboard" / "notes.txt").write_text("mine")
    assert "tensorboard/notes.txt was not written by it" in refusal(capsys, f"train --out {run} --fit.epochs 1 --overwrite {TINY}")


def test_no_step_is_written_twice_when_a_run_goes_on(tmp_path: Path, monkeypatch, capsys) -> None:
    pytest.importorskip("tensorboard")
    run, original, kept = tmp_path / "run", Loop._epoch, state.Keeper.write

    def stopped(self, number):
        if number == 4:
            raise KeyboardInterrupt
        return original(self, number)

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(Loop, "_epoch", stopped)
        patched.setattr(state.Keeper, "write", lambda self, values: kept(self, values) if len(values["rows"]) < 3 else None)
        main(f"train --out {run} --fit.epochs 5 --track tensorboard {TINY}".split())  # epoch 3 is in the log, but not in the state
    assert len(tracked(tmp_path / "run.partial")["train_loss"]) == 3
    main(f"train --out {run} --resume --track tensorboard".split())
    assert_is_history(run)
    main(f"train --out {run} --resume --fit.epochs 7 --track tensorboard".split())
    assert_is_history(run)
    main(f"train --out {run} --resume --fit.epochs 8".split())
    assert len(tracked(run)["train_loss"]) == 7  # kept, as it was asked for before


def test_a_run_that_goes_on_has_its_first_epochs_in_the_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    main(f"train --out {tmp_path}/run --fit.epochs 2 {TINY}".split())
    main(f"train --out {tmp_path}/run --resume --fit.epochs 3 --track tensorboard".split())
    assert_is_history(tmp_path / "run")


def in_this_process(jobs, commands, folder, *, processes):
    for job in jobs:
        for words in commands(job):
            main(words)
    return {}


def test_every_run_of_a_comparison_or_a_sweep_has_a_log(tmp_path: Path, monkeypatch, capsys) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(sweeps, "run_jobs", in_this_process)
    monkeypatch.setattr(sweeps, "_report", lambda *_: None)
    monkeypatch.setattr(compare_command, "report", lambda *_: None)
    options = f"--fit.epochs 1 {TINY} --evaluate.num_particles 5 --track tensorboard"
    main(f"compare --baselines false --priors standard,mixture --out {tmp_path}/all {options}".split())
    main(f"sweep --over seed 0 1 --out {tmp_path}/sweep {options}".split())
    for run in ("all/standard", "all/mixture", "sweep/seed0", "sweep/seed1"):
        assert_is_history(tmp_path / run)
    assert "--track are of trainings" in refusal(capsys, "compare {} --track tensorboard", tmp_path / "all" / "standard")


@pytest.mark.parametrize("epochs", [1, 3, 25, 30, 100, 4000])
def test_logs_that_are_no_terminal_have_some_thirty_lines(epochs: int, capsys) -> None:
    for epoch in range(1, epochs + 1):
        _print_some(pd.Series({"epoch": epoch, "train_loss": 1.0, "valid_loss": 2.0}), epochs)
    lines = capsys.readouterr().out.splitlines()
    assert min(epochs, 15) <= len(lines) <= 27
    assert lines[0] == "epoch 1: train 1.00, valid 2.00" and lines[-1].startswith(f"epoch {epochs}:")


def test_a_training_says_little_where_there_is_no_terminal(tmp_path: Path, capsys) -> None:
    main(f"train --out {tmp_path}/run --fit.epochs 60 --fit.patience null {TINY.replace('400', '1197')}".split())
    main(f"evaluate {tmp_path}/run --num_particles 5".split())
    written = "".join(capsys.readouterr())
    assert len(written.splitlines()) < 45 and "\r" not in written
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 60
