"""The commands: a round trip from training to pictures, and what happens when the user errs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shell import PRIORS, SMALL, contents, refusal, say
import torch
import yaml

from inference import calibrate, diagnose
from inference.runs import folders
from inference.scoring.evaluation import Evaluation
from inference.scoring.importance import evaluate
from inference.scripts.cli import main
from inference.scripts.commands.report_command import name_runs


def test_train_keeps_options_history_weights_and_a_picture(trained: Path) -> None:
    assert sorted(contents(trained)) == [
        f"{prior}/{name}"
        for prior in PRIORS
        for name in (
            "checkpoint.last.safetensors",
            "checkpoint.safetensors",
            "config.yaml",
            "history.csv",
            "history.png",
            "manifest.json",
            "summary.yaml",
        )
    ]
    history = pd.read_csv(trained / "vamp" / "history.csv")
    summary = yaml.safe_load((trained / "vamp" / "summary.yaml").read_text())
    best = history.loc[history["valid_loss"].idxmin()]
    assert (summary["best_epoch"], summary["best_valid_loss"]) == (best["epoch"], best["valid_loss"])
    assert yaml.safe_load((trained / "vamp" / "config.yaml").read_text())["model"]["num_components"] == 20


def test_epochs_are_lines_in_a_log(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(f"train --out {tmp_path / 'run'} {SMALL}".split())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert len(history) == 2
    for line, row in zip(lines, history.itertuples(), strict=True):
        assert line == f"epoch {row.epoch}: train {row.train_loss:.2f}, valid {row.valid_loss:.2f}"


def test_the_configuration_of_a_run_repeats_it(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = trained / "vamp" / "config.yaml"
    say(capsys, "train --config {} --out {}", config, tmp_path / "again")
    say(capsys, "train --config {} --out {} --fit.seed 1", config, tmp_path / "other")
    folders = (trained / "vamp", tmp_path / "again", tmp_path / "other")
    weights = [contents(folder)["checkpoint.safetensors"] for folder in folders]
    assert weights[0] == weights[1] != weights[2]


def test_evaluate_scores_the_kept_weights(both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    printed = say(capsys, "evaluate {} {} --split valid --num_particles 30 --seed 2", *both)
    loaded = folders.load_runs({folder.name: folder for folder in both})
    for folder, run in zip(both, loaded.values(), strict=True):
        expected = evaluate(run.pair, run.data.valid, num_particles=30, seed=2)
        kept = Evaluation.from_netcdf(folder / "valid-K30-seed2-auto.nc")
        assert torch.equal(kept.log_px, expected.log_px) and kept.data_id == expected.data_id
        table = pd.read_csv(folder / "valid-K30-seed2-auto.csv")
        np.testing.assert_allclose(table["log_px"], expected.log_px)
        assert str(expected) in printed


def test_chains_and_bounds(both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    options = "--method ais --num_steps 2 --num_particles 4 --bidirectional 6"
    printed = say(capsys, "evaluate {} " + options, both[0])
    assert "K = 4, seed 0, annealed in 2 steps, proposal: refined for each datum" in printed
    assert Evaluation.from_netcdf(both[0] / "test-K4-seed0-ais2-auto.nc").method == "ais"
    assert "on average over 6 simulated data\ngap " in printed and "K = 4 chains of 2 steps each way" in printed
    assert "A score of these data (method ais, K = 4, proposal: refined for each datum) is too low by at most" in printed
    assert list(pd.read_csv(both[0] / "bidirectional.csv")) == ["datum", "lower", "upper", "gap"]


def test_steps_without_chains_are_refused(both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert "num_steps has no effect with method='importance'" in refusal(capsys, "evaluate {} --num_steps 5", both[0])


def test_text_is_sampled_as_text_and_scored_in_bits_a_character(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.txt").write_text("the cat sat on the mat. " * 400)
    data = f"--data.source {tmp_path / 'own.txt'} --data.shape [16] --model.likelihood categorical --model.network conv"
    model = "--model.encoder vq --model.prior autoregressive --model.num_codes 8 --model.latent_dim 4 --model.hidden [8]"
    folder = tmp_path / "text"
    say(capsys, f"train --out {{}} {data} {model} --fit.epochs 2", folder)
    assert "bits per character" in say(capsys, "evaluate {} --num_particles 10", folder)
    say(capsys, "sample {} --num_draws 3", folder)
    texts = (folder / "samples" / "samples.txt").read_text().strip().split("\n\n")
    assert [len(text) for text in texts] == [16] * 3 and set("".join(texts)) <= set("the cat sat on the mat. ")
    say(capsys, "report {} --baselines false --out {} --evaluate.num_particles 10", folder, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<td>") > 10 and "decoded to draws" in page and "The quality of text is not measured" in page


def test_diagnose_prints_and_keeps_a_table(both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    printed = say(capsys, "diagnose {} {} --num_draws 100 --split valid", *both)
    table = pd.read_csv(both[1] / "diagnosis.csv", index_col="figure")
    x = folders.load_runs({"vamp": both[1]})["vamp"]
    expected = diagnose(x.pair, x.data.valid, num_draws=100, progress=False)
    np.testing.assert_allclose(table["value"], expected.to_frame()["value"])
    assert str(expected) in printed
    assert "quantile must lie between 0 and 1" in refusal(capsys, "diagnose {} --quantile 2", both[0])


def test_diagnose_calibrates_guides_on_request(both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    printed = say(capsys, "diagnose {} --num_draws 100 --calibration --seed 1", both[1])
    x = folders.load_runs({"vamp": both[1]})["vamp"]
    expected = calibrate(x.pair, x.data.test, seed=1)
    assert str(expected) in printed
    table = pd.read_csv(both[1] / "calibration.csv", index_col="quantity")
    np.testing.assert_allclose(table["scale"], expected.to_frame()["scale"])
    assert (both[1] / "calibration.png").read_bytes().startswith(b"\x89PNG")


def test_sample_draws_from_the_model(both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = both[1]
    say(capsys, "sample {} --num_draws 7 --seed 3", folder)
    run = folders.load_runs({"vamp": folder})["vamp"]
    with np.load(folder / "samples" / "arrays.npz") as arrays:
        assert {name: array.shape for name, array in arrays.items()} == {
            "samples": (7, 64),
            "sample_means": (7, 64),
            "data": (7, 64),
            "reconstructions": (7, 64),
            "codes": (300, 2),
        }
        assert set(np.unique(arrays["samples"])) == {0.0, 1.0}
        assert (run.data.test.numpy()[:, None] == arrays["data"]).all(-1).any(0).all()
        posterior = run.pair.encoder(run.data.test).base_dist
        z_scores = (arrays["codes"] - posterior.loc.detach().numpy()) / posterior.scale.detach().numpy()
        assert abs(z_scores.mean()) < 4 / 600**0.5 and abs(z_scores.std() - 1) < 4 / 1200**0.5
    assert {"samples.png", "reconstructions.png"} <= {path.name for path in (folder / "samples").iterdir()}


def test_tables_are_not_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 9)) * 10
    np.savetxt(tmp_path / "table.csv", rows, delimiter=",")
    command = f"train --data.source {{}} --out {{}} --model.likelihood gaussian {SMALL} --fit.batch_size 40"
    say(capsys, command, tmp_path / "table.csv", tmp_path / "run")
    assert "are not images" in say(capsys, "sample {}", tmp_path / "run")
    assert not list((tmp_path / "run" / "samples").glob("*.png"))

    np.savetxt(tmp_path / "table.csv", rows + 1, delimiter=",")
    assert "must be those it was trained on" in refusal(capsys, "evaluate {}", tmp_path / "run")


def test_a_hierarchy_is_trained_scored_and_taken_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = tmp_path / "levels.yaml"
    config.write_text(yaml.safe_dump({"fit": {"warmup_epochs": {"z1": 1, "z2": 2}, "free_bits": {"z2": 0.5}}}))
    main(f"train --config {config} --out {run} --model.structure ladder {SMALL}".split())
    assert pd.read_csv(run / "history.csv")["kl_weight_z2"].tolist() == [0.5, 1.0]
    assert "median ESS" in say(capsys, "evaluate {} --num_particles 10", run)
    say(capsys, "sample {} --num_draws 6", run)
    arrays = np.load(run / "samples" / "arrays.npz")
    assert arrays["codes_z1"].shape == arrays["codes_z2"].shape == (300, 2)
    assert arrays["means_given_z2"].shape == (6, 64) and (run / "samples" / "levels.png").is_file()


def test_runs_are_named_by_what_tells_them_apart():
    assert list(name_runs([Path("runs/a"), Path("runs/b/")])) == ["a", "b"]
    assert list(name_runs([Path("x/a"), Path("y/a")])) == ["x/a", "y/a"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --out {} --model.priro vamp", "unrecognized arguments: --model.priro vamp. Did you mean --model.prior?"),
        ("train --out {} --model.prior vampire", "got 'vampire'. Did you mean vamp?"),
        ("train --out {} --fit.epochs 0", "fit.epochs"),
        ("train --out {} --data.source digitz", "source must be one of"),
        ("train --out {} --fit.batch_size 5000", "batch_size must be between 1 and the number of rows, 1197"),
        ("train --out {} --model.prior vamp --model.num_components 5000", "num_components must be between"),
        ("train --out {} --data.binarize null", "'bernoulli' cannot have generated the data"),
        ("train --out {} --device banana", "--device must name a device of this machine, cpu"),
        ("train --out {} --model.structure stacked --model.prior uniform", "stacked structure needs a prior on the whole space"),
        ("compare --out {} --priors []", "--priors must name at least one prior"),
        ("compare --out {} --model.structure ladder --priors vamp,sphere", "got prior 'sphere' on the sphere"),
        ("evaluate {}", "must hold a finished run; it has no config.yaml"),
        ("compare {}", "must hold a finished run; it has no config.yaml"),
        ("compare {} --fit.epochs 3", "finished runs keep their options"),
        ("compare --model.prior vamp --out {}", "Use --priors instead"),
        ("compare {} --expost mixtures", "got '[mixtures]'. Did you mean mixture?"),
        ("compare --expost mixture --priors [maf] --out {}", "--expost_of must name compared models, maf; got 'standard'"),
        ("compare --expost flow --expost_of vamp --priors [maf] --out {}", "must name compared models, maf; got 'vamp'"),
        ("compare --expost_of maf --priors [maf] --out {}", "--expost_of has no effect without --expost"),
        ("sample {}", "must hold a finished run; it has no config.yaml"),
        ("sample {} --num_draws 0", "num_draws"),
        (
            "paint {}",
            "report, encode, reconstruct, impute, sample, runs; got 'paint'",
        ),
    ],
)
def test_errors_are_one_line_and_leave_nothing(command: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refusal(capsys, command, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_misspelt_key_of_a_configuration_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("model:\n  prior: vamp\n  num_component: 20\n")
    command, run = "train --config {} --out {}", tmp_path / "run"
    assert "does not accept option 'num_component'" in refusal(capsys, command, config, run)
    assert "File does not exist" in refusal(capsys, command, tmp_path / "no.yaml", run)
    assert list(tmp_path.iterdir()) == [config]


def test_help_names_every_command_and_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    overview = say(capsys, "--help")
    options = {
        "train": "--fit.epochs",
        "evaluate": "--split",
        "compare": "--priors",
        "diagnose": "--quantile",
        "report": "--out",
        "sample": "--seed",
        "runs": "--clean",
    }
    for command, option in options.items():
        assert command in overview
        with pytest.raises(SystemExit) as exit:
            main([command, "--help"])
        assert exit.value.code == 0 and option in capsys.readouterr().out
