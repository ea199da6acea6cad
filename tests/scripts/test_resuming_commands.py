"""Commands that go on where they were, and sweeps."""

from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file
from shell import refusal
import torch

from inference.files.claims import claimed
from inference.runs import sweep as sweeps
from inference.runs.sweep import make_jobs, run_jobs
from inference.scripts.cli import main
from inference.svi import state
from inference.svi.loop import Loop


def run_cli(words):
    main(words.split() if isinstance(words, str) else words)


TINY = "--model.hidden [8] --model.latent_dim 2 --fit.batch_size 400"


@pytest.fixture(autouse=True)
def kept_after_every_epoch(monkeypatch):
    monkeypatch.setattr(state, "_EVERY", 0.0)


@pytest.fixture
def stopping(monkeypatch):
    """Interrupts the next fit in some epoch, as Ctrl-C would."""

    def stop_in(number: int, times: int = 1) -> None:
        original, left = Loop._epoch, [times]

        def epoch(self, now):
            if now == number and left[0]:
                left[0] -= 1
                raise KeyboardInterrupt
            return original(self, now)

        monkeypatch.setattr(Loop, "_epoch", epoch)

    return stop_in


def assert_same_runs(one: Path, other: Path) -> None:
    first, second = (load_file(folder / "checkpoint.safetensors") for folder in (one, other))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    histories = [pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (one, other)]
    pd.testing.assert_frame_equal(*histories)


def test_an_interrupted_training_goes_on(tmp_path, stopping, capsys):
    run_cli(f"train --out {tmp_path}/whole --fit.epochs 5 {TINY}")
    stopping(4)
    with pytest.raises(SystemExit):
        run_cli(f"train --out {tmp_path}/run --fit.epochs 5 {TINY}")
    assert not (tmp_path / "run").exists() and (tmp_path / "run.partial").is_dir()
    for name in ("run", "run.partial"):
        with pytest.raises(SystemExit):
            run_cli(f"evaluate {tmp_path}/{name}")
        assert f"run.partial is unfinished. Go on with it: pyro-lvm train --resume --out {tmp_path}/run\n" in capsys.readouterr().err
    run_cli(f"train --out {tmp_path}/run --resume")  # with its own options
    assert "epoch 4:" in capsys.readouterr().out.splitlines()[1]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["run", "whole"]
    assert_same_runs(tmp_path / "run", tmp_path / "whole")


def test_a_finished_training_goes_on_for_more_epochs(tmp_path, capsys):
    run_cli(f"train --out {tmp_path}/whole --fit.epochs 4 {TINY}")
    run_cli(f"train --out {tmp_path}/run --fit.epochs 2 {TINY}")
    run_cli(f"train --out {tmp_path}/run --fit.epochs 4 --resume")
    assert_same_runs(tmp_path / "run", tmp_path / "whole")
    capsys.readouterr()
    run_cli(f"train --out {tmp_path}/run --resume")
    assert "is finished" in capsys.readouterr().out


def test_a_training_goes_on_as_it_was_begun(tmp_path, capsys):
    run_cli(f"train --out {tmp_path}/run --fit.epochs 1 {TINY}")
    for options, said in (
        ("--model.prior vamp", "--model.prior must be standard"),
        ("--fit.seed 3", "--fit.seed must be 0"),
        ("--fit.batch_size 300", "--fit.batch_size must be 400"),
    ):
        assert said in refusal(capsys, f"train --out {tmp_path}/run --resume --fit.epochs 3 {options}")
    run_cli(f"train --out {tmp_path}/new --resume --fit.epochs 1 {TINY}")  # nothing to go on with: begun
    assert (tmp_path / "new" / "summary.yaml").is_file()


def test_an_interrupted_comparison_goes_on(tmp_path, stopping, capsys):
    words = f"compare --priors [standard,mixture] --fit.epochs 2 {TINY} --baselines false --evaluate.num_particles 10 --out"
    run_cli(f"{words} {tmp_path}/whole")
    stopping(2)
    with pytest.raises(SystemExit):
        run_cli(f"{words} {tmp_path}/all")
    run_cli(f"{words} {tmp_path}/all --resume")
    assert (tmp_path / "all" / "comparison.csv").read_text() == (tmp_path / "whole" / "comparison.csv").read_text()
    run_cli(f"{words} {tmp_path}/all --resume")
    assert f"{tmp_path}/all is finished" in capsys.readouterr().out
    assert "--model.latent_dim must be 2" in refusal(capsys, f"{words} {tmp_path}/all --resume --model.latent_dim 3")
    assert "which is none of mixture" in refusal(capsys, f"{words} {tmp_path}/all --resume --priors [mixture]")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["all", "whole"]


def test_a_finished_run_that_went_on_and_was_killed_goes_on(tmp_path, stopping, capsys):
    run_cli(f"train --out {tmp_path}/whole --fit.epochs 5 {TINY}")
    run_cli(f"train --out {tmp_path}/run --fit.epochs 2 {TINY}")
    stopping(4)
    with pytest.raises(SystemExit):
        run_cli(f"train --out {tmp_path}/run --fit.epochs 5 --resume")
    assert (tmp_path / "run" / "summary.yaml").is_file()
    run_cli(f"train --out {tmp_path}/run --resume")
    assert_same_runs(tmp_path / "run", tmp_path / "whole")
    assert "--fit.epochs must be 5 or more" in refusal(capsys, f"train --out {tmp_path}/run --fit.epochs 3 --resume")


def test_fewer_epochs_than_were_made_are_refused(tmp_path, stopping, capsys):
    stopping(4)
    with pytest.raises(SystemExit):
        run_cli(f"train --out {tmp_path}/run --fit.epochs 5 {TINY}")
    assert "epochs must be at least 3" in refusal(capsys, f"train --out {tmp_path}/run --fit.epochs 2 --resume")
    run_cli(f"train --out {tmp_path}/run --fit.epochs 3 --resume")  # none are left, and all files are there
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 3
    run_cli(f"evaluate {tmp_path}/run --num_particles 5")


def test_what_was_made_of_the_weights_is_kept_as_long_as_they_are(tmp_path, capsys):
    run_cli(f"train --out {tmp_path}/run --fit.epochs 1 --fit.learning_rate 1e-12 {TINY}")
    run_cli(f"evaluate {tmp_path}/run --num_particles 5")
    run_cli(f"train --out {tmp_path}/run --fit.epochs 2 --resume")
    assert (tmp_path / "run" / "test-K5-seed0-auto.nc").is_file()
    capsys.readouterr()
    run_cli(f"train --out {tmp_path}/other --fit.epochs 1 {TINY}")
    run_cli(f"evaluate {tmp_path}/other --num_particles 5")
    run_cli(f"train --out {tmp_path}/other --fit.epochs 3 --resume")
    assert "removed with them: test-K5-seed0-auto.csv, test-K5-seed0-auto.nc" in capsys.readouterr().out
    assert not (tmp_path / "other" / "test-K5-seed0-auto.nc").exists()


def test_two_processes_do_not_go_on_with_one_folder(tmp_path, stopping, capsys):
    stopping(3)
    with pytest.raises(SystemExit):
        run_cli(f"train --out {tmp_path}/run --fit.epochs 5 {TINY}")
    partial = tmp_path / "run.partial"
    with claimed(tmp_path / "run", "train", partial):
        assert "another process is writing" in refusal(capsys, f"train --out {tmp_path}/run --resume")
        with pytest.raises(ValueError, match="another process is writing"), claimed(tmp_path / "run", "train", partial):
            pytest.fail("both hold it")
    run_cli(f"train --out {tmp_path}/run --resume")


def test_names_of_unfinished_folders_and_loops_are_refused(tmp_path, capsys):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "links that lead to one another" in refusal(capsys, f"train --out {tmp_path}/loop --resume {TINY}")
    assert "ends in .partial" in refusal(capsys, f"train --out {tmp_path}/x.partial {TINY}")


def test_a_run_that_stopped_early_says_what_it_goes_on_with(tmp_path, capsys):
    run_cli(f"train --out {tmp_path}/run --fit.epochs 1 {TINY}")
    run_cli(f"train --out {tmp_path}/run --resume")
    assert "it goes on with more --fit.epochs.\n" in capsys.readouterr().out
    run_cli(f"train --out {tmp_path}/early --fit.epochs 9 --fit.patience 1 --fit.learning_rate 0.5 {TINY}")
    run_cli(f"train --out {tmp_path}/early --resume --fit.epochs 10")
    assert "it goes on with a larger --fit.patience, as it stopped early.\n" in capsys.readouterr().out
    run_cli(f"train --out {tmp_path}/early --resume --fit.epochs 10 --fit.patience 99")
    assert len(pd.read_csv(tmp_path / "early" / "history.csv")) == 10


def in_this_process(jobs, commands, folder, *, processes):
    failures = {}
    for job in jobs:
        try:
            for words in commands(job):
                run_cli(words)
        except SystemExit:
            failures[job.name] = "failed"
    return failures


def test_a_sweep_compares_recipes_and_is_not_stopped_by_a_failure(tmp_path, monkeypatch, stopping, capsys):
    monkeypatch.setattr(sweeps, "run_jobs", in_this_process)
    words = (
        f"sweep --over model.prior standard mixture --over seed 0,1 --fit.epochs 2 {TINY} --evaluate.num_particles 10 --out {tmp_path}/s "
        "--baselines independent-columns"
    )
    stopping(2)  # of the first run
    with pytest.raises(SystemExit):
        run_cli(words)
    assert "1 of 4 runs have failed: standard-seed0" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "s" / "comparison.csv", index_col=0)
    assert table["fits"].to_dict() == {"standard": 1, "mixture": 2}
    run_cli(words)
    table = pd.read_csv(tmp_path / "s" / "comparison.csv", index_col=0)
    assert table["fits"].to_dict() == {"standard": 2, "mixture": 2}
    assert "independent-columns, the best yardstick" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "s").iterdir() if path.is_dir()} == {
        f"{prior}-seed{seed}" for prior in ("standard", "mixture") for seed in (0, 1)
    }
    before = (tmp_path / "s" / "comparison.csv").read_text()
    assert "--model.hidden must be" in refusal(capsys, f"{words} --model.hidden [9]")
    run_cli(
        f"compare --priors [standard,mixture] --seeds 2 --fit.epochs 2 {TINY} --baselines false --out {tmp_path}/s"
        " --evaluate.num_particles 10"
    )
    assert (tmp_path / "s" / "comparison.csv").read_text() == before


def test_sweeps_that_cannot_be_are_refused(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    for words, said in (
        ("--over model.prior standard standard", "must have different values"),
        ("--over seed 0 00", "must have different values"),
        ("--over evaluate.seed 0 1", "must name options of data, model, fit or pair"),
        ("--over data.source a/x.npy a-x.npy", "every run its own name"),
        ("--over data.seed 0 1", "split the data otherwise"),
        ("--over model.prior vamp banana", "banana"),
        ("--over model.prior vamp", "must be a new folder or that of a sweep"),
    ):
        assert said in refusal(capsys, f"sweep {words} --out {tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_jobs_are_named_by_their_values():
    jobs = make_jobs({"model.prior": ["vamp"], "model.hidden": ["[30,20]"], "fit.seed": ["1"]})
    assert [(job.name, job.group) for job in jobs] == [("vamp-30-20-fit-seed1", "vamp-30-20")]
    assert jobs[0].values == {"model.prior": "vamp", "model.hidden": "[30,20]", "fit.seed": "1"}
    assert make_jobs({"seed": ["4"]})[0].values == {"model.seed": "4", "fit.seed": "4"}


def test_processes_run_at_a_time_and_say_how_they_end(tmp_path, capsys):
    jobs = make_jobs({"model.prior": ["standard", "vamp"]})
    commands = {"standard": [["--help"]], "vamp": [["--help"], ["nonsense"], ["--help"]]}
    failures = run_jobs(jobs, lambda job: commands[job.name], tmp_path)
    assert list(failures) == ["vamp"] and "got 'nonsense'" in failures["vamp"]
    assert "usage: pyro-lvm" in (tmp_path / "standard.log").read_text()
    assert "vamp: failed: error: the command must be one of" in capsys.readouterr().out


@pytest.mark.parametrize(("device", "num_gpus"), [("cpu", 0), ("cuda", 1)])
def test_ray_runs_the_same_jobs_each_with_a_core_or_a_gpu(tmp_path, monkeypatch, device, num_gpus):
    given = {}

    def on_ray(jobs, commands, folder, **options):
        given.update(options, words=[command for job in jobs for command in commands(job)])
        return {job.name: "not run" for job in jobs}

    monkeypatch.setattr("inference.recipes.options.find_spec", lambda name: True)
    monkeypatch.setattr("inference.scripts.checks.values._check_device", lambda name: None)
    monkeypatch.setattr("inference.scripts.commands.sweep_command.run_on_ray", on_ray)
    with pytest.raises(SystemExit):
        run_cli(f"sweep --over seed 0 1 --out {tmp_path}/s --engine ray --processes 3 --track tensorboard --device {device}")
    assert (given["num_gpus"], given["processes"]) == (num_gpus, 3)
    trainings = [words for words in given["words"] if words[0] == "train"]
    assert len(trainings) == 2 and all(words[-3:] == ["--resume", "--track", "tensorboard"] and device in words for words in trainings)
