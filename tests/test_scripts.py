"""The commands: a round trip from training to pictures, and what happens when the user errs."""

from hashlib import sha256
from pathlib import Path
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from inference import diagnose
from inference.recipes import build as recipes
from inference.recipes.options import EvaluateOptions
from inference.report import report
from inference.report.plots import images as pictures
from inference.runs import folders
from inference.runs import run as runs
from inference.runs import scores as run_scores
from inference.scoring.evaluation import Evaluation
from inference.scoring.importance import evaluate
from inference.scripts.cli import main
from inference.scripts.compare import plan_expost

SMALL = "--fit.epochs 2 --fit.batch_size 200 --model.latent_dim 2 --model.hidden [16]"
PRIORS = ("standard", "vamp")


def say(capsys: pytest.CaptureFixture[str], command: str, *folders: Path) -> str:
    """What a command prints; folders stand for the {} in it."""
    capsys.readouterr()
    main(command.format(*folders).split())
    return capsys.readouterr().out


def refusal(capsys: pytest.CaptureFixture[str], command: str, *folders: Path) -> str:
    """The one line in which a command refuses."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        main(command.format(*folders).split())
    lines = [line for line in capsys.readouterr().err.splitlines() if line and not line.startswith("fit:")]
    assert exit.value.code == 2 and len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    for prior in PRIORS:
        main(f"train --out {folder / prior} --model.prior {prior} --model.num_components 20 {SMALL}".split())
    return folder


@pytest.fixture
def both(trained: Path, tmp_path: Path) -> list[Path]:
    """Copies of a run with a standard and one with a Vamp prior."""
    return [Path(shutil.copytree(trained / prior, tmp_path / prior)) for prior in PRIORS]


def test_train_keeps_options_history_weights_and_a_picture(trained: Path) -> None:
    assert sorted(contents(trained)) == [
        f"{prior}/{name}"
        for prior in PRIORS
        for name in ("checkpoint.safetensors", "config.yaml", "history.csv", "history.png", "summary.yaml")
    ]
    history = pd.read_csv(trained / "vamp" / "history.csv")
    summary = yaml.safe_load((trained / "vamp" / "summary.yaml").read_text())
    best = history.loc[history["valid_loss"].idxmin()]
    assert (summary["best_epoch"], summary["best_valid_loss"]) == (best["epoch"], best["valid_loss"])
    assert yaml.safe_load((trained / "vamp" / "config.yaml").read_text())["model"]["num_components"] == 20


def test_epochs_are_lines_in_a_log(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(f"train --out {tmp_path / 'run'} {SMALL}".split())
    lines = capsys.readouterr().err.splitlines()
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    for line, (_, row) in zip(lines, history.iterrows(), strict=False):
        assert f"{row['epoch']:.0f}/2" in line and f"valid_loss={row['valid_loss']:.2f}" in line


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
        expected = evaluate(run.vae, run.data.valid, num_particles=30, seed=2)
        kept = Evaluation.from_netcdf(folder / "valid-K30-seed2.nc")
        assert torch.equal(kept.log_px, expected.log_px) and kept.data_id == expected.data_id
        table = pd.read_csv(folder / "valid-K30-seed2.csv")
        np.testing.assert_allclose(table["log_px"], expected.log_px)
        assert str(expected) in printed


def test_compare_scores_runs_once_and_prints_the_table(
    both: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = say(capsys, "compare {} {} --evaluate.num_particles 30", *both)
    scores = [Evaluation.from_netcdf(folder / "test-K30-seed0.nc") for folder in both]
    difference = scores[0].log_px - scores[1].log_px
    rows = [line.split() for line in first.splitlines() if line.startswith(str(both[0].parent))]
    assert {row[0] for row in rows[:2]} == {str(folder) for folder in both}
    printed, error = float(rows[1][3]), float(rows[1][4])
    assert error == pytest.approx(float(difference.std()) / 300**0.5, rel=0.05)
    assert printed == pytest.approx(-abs(float(difference.mean())), abs=error)

    monkeypatch.setattr(run_scores, "evaluate_vae", None)
    assert say(capsys, "compare {} {} --evaluate.num_particles 30", *both) == first


def test_compare_trains_priors_and_replaces_its_own_output_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = f"compare --priors [standard,maf] --out {{}} --evaluate.num_particles 25 {SMALL}"
    out = tmp_path / "comparison"
    printed = say(capsys, command, out)
    table = pd.read_csv(out / "comparison.csv", index_col="model")
    assert set(table.index) == {"standard", "maf"} and (table["num_particles"] == 25).all()
    for text in ("standard", "maf", "mass", "log_px", "25", "2 of 2", "0, 0, 0, 0"):
        assert text in printed
    made = contents(out)
    drawn = {"curves.png", "estimate-vs-particles.png", "reconstructions.png", "samples.png"}
    assert drawn | {"comparison.md", "report.html"} <= set(made)

    with monkeypatch.context() as patch:
        patch.setattr(report, "draw_estimates", lambda *_: (_ for _ in ()).throw(ValueError("no ink.")))
        assert f"no ink. What was done so far stays in {out}.partial" in refusal(capsys, command, out)
    assert contents(out) == made
    say(capsys, command + " --fit.seed 1", out)
    assert contents(out)["maf/checkpoint.safetensors"] != made["maf/checkpoint.safetensors"]

    assert "Choose another --out" in refusal(capsys, "compare {} --out {}", out / "maf", out)
    (out / "comparison.csv").unlink()
    assert "must hold comparison.csv" in refusal(capsys, command, out)


def test_compare_fits_priors_after_training_to_the_models_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "comparison"
    options = f"--out {{}} --evaluate.num_particles 5 {SMALL} --expost gaussian two-stage"
    printed = say(capsys, f"compare --priors [standard,maf] {options}", out)
    table = pd.read_csv(out / "comparison.csv", index_col="model")
    assert set(table.index) == {"standard", "standard+gaussian", "standard+two-stage", "maf"}
    assert printed.count("fitted to 1197 codes in") == 2
    assert {"standard/expost-two-stage/checkpoint.safetensors", "standard/expost-two-stage/test-K5-seed0.nc"} <= set(contents(out))
    kinds = ["gaussian", "two-stage"]
    assert plan_expost(kinds, ["maf"], ["standard"], ["standard", "maf"]) == {"maf": kinds}
    assert plan_expost([], None, ["standard"], ["maf"]) == {}


def test_compare_fits_priors_to_all_runs_and_keeps_their_scores(
    both: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def table(printed: str) -> list[str]:
        return [line for line in printed.splitlines() if "fitted to" not in line]

    command = "compare {} {} --evaluate.num_particles 5 --expost mixture flow"
    first = say(capsys, command, *both)
    rows = {f"{folder}{kind}" for folder in both for kind in ("", "+mixture", "+flow")}
    assert rows == {line.split()[0] for line in table(first) if line.startswith(str(both[0].parent))}
    with monkeypatch.context() as patch:
        patch.setattr(run_scores, "fit_expost", None)
        assert table(say(capsys, command, *both)) == table(first)
        kept = folders.load_runs({str(folder): folder for folder in both})
        models, scores = run_scores.score_runs(
            kept,
            {str(folder): folder for folder in both},
            EvaluateOptions(num_particles=5),
            expost=dict.fromkeys(kept, ["mixture", "flow"]),
        )
    for name, model in models.items():
        again = evaluate(model.vae, model.data.test, num_particles=5, progress=False)
        np.testing.assert_array_equal(again.log_px, scores[name].log_px)
    for folder in both:
        shutil.rmtree(folder / "expost-flow")
    again = say(capsys, command, *both)
    assert table(again) == table(first) and again.count("fitted to") == 2


CODES = "--model.encoder vq --model.num_codes 8 --model.num_slots 4"


def test_models_of_codes_are_scored_by_their_bound_and_by_a_soft_proposal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "codes"
    say(capsys, f"train --out {{}} --model.prior uniform {CODES} {SMALL}", folder)
    history = pd.read_csv(folder / "history.csv")
    assert history["code_usage"].between(0, 1).all() and history["code_perplexity"].between(1, 8).all()
    command = "compare {} --evaluate.num_particles 20 --expost autoregressive --out {}"
    printed = say(capsys, command, folder, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "comparison.csv", index_col="model")
    assert set(table.index) == {f"{folder}{row}" for row in ("", "~soft", "+autoregressive", "+autoregressive~soft")}
    assert table["is_bound"].to_dict() == {name: "soft" not in name for name in table.index}
    assert table["num_particles"].to_dict() == {name: 20 if "soft" in name else 1 for name in table.index}
    assert table["log_px"][f"{folder}~soft"] > table["log_px"][str(folder)]
    kept = yaml.safe_load((folder / "proposal.yaml").read_text())
    assert kept["temperature"] > 0 and kept["num_particles"] == 20
    assert "Bounds and exact values have no k\u2011hat" in (tmp_path / "out" / "report.html").read_text()
    with pytest.MonkeyPatch.context() as patch:
        for work in ("fit_expost", "fit_temperature", "evaluate_vae"):
            patch.setattr(run_scores, work, None)
        again = say(capsys, "compare {} --evaluate.num_particles 20 --expost autoregressive", folder)
    assert again.split("Means over")[0].split() == printed.split("Means over")[0].split()[-len(again.split("Means over")[0].split()) :]
    say(capsys, "sample {} --num_draws 5 --expost autoregressive", folder)
    with np.load(folder / "expost-autoregressive" / "samples" / "arrays.npz") as arrays:
        assert arrays["codes"].dtype == np.int64 and arrays["codes"].max() < 8 and arrays["samples"].shape == (5, 64)


def test_text_is_sampled_as_text_and_scored_in_bits_a_character(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.txt").write_text("the cat sat on the mat. " * 400)
    data = f"--data.source {tmp_path / 'own.txt'} --data.shape [16] --model.likelihood categorical --model.network conv"
    model = "--model.encoder vq --model.prior autoregressive --model.num_codes 8 --model.latent_dim 4 --model.hidden [8]"
    folder = tmp_path / "text"
    say(capsys, f"train --out {{}} {data} {model} --fit.epochs 2", folder)
    assert "bits a character" in say(capsys, "evaluate {} --num_particles 10", folder)
    say(capsys, "sample {} --num_draws 3", folder)
    texts = (folder / "samples" / "samples.txt").read_text().strip().split("\n\n")
    assert [len(text) for text in texts] == [16] * 3 and set("".join(texts)) <= set("the cat sat on the mat. ")
    say(capsys, "report {} --out {} --evaluate.num_particles 10", folder, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<td>") > 10 and "decoded to draws" in page and "The quality of text is not measured" in page


def test_diagnose_prints_and_keeps_a_table(both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    printed = say(capsys, "diagnose {} {} --num_draws 100 --split valid", *both)
    table = pd.read_csv(both[1] / "diagnosis.csv", index_col="figure")
    x = folders.load_runs({"vamp": both[1]})["vamp"]
    expected = diagnose(x.vae, x.data.valid, num_draws=100, progress=False)
    np.testing.assert_allclose(table["value"], expected.to_frame()["value"])
    assert str(expected) in printed
    assert "quantile must lie between 0 and 1" in refusal(capsys, "diagnose {} --quantile 2", both[0])


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
        posterior = run.vae.encoder(run.data.test).base_dist
        z_scores = (arrays["codes"] - posterior.loc.detach().numpy()) / posterior.scale.detach().numpy()
        assert abs(z_scores.mean()) < 4 / 600**0.5 and abs(z_scores.std() - 1) < 4 / 1200**0.5
    assert {"samples.png", "reconstructions.png"} <= {path.name for path in (folder / "samples").iterdir()}


def test_tables_are_no_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 9)) * 100
    np.savetxt(tmp_path / "table.csv", rows, delimiter=",")
    command = f"train --data.source {{}} --out {{}} --model.likelihood gaussian {SMALL} --fit.batch_size 40"
    say(capsys, command, tmp_path / "table.csv", tmp_path / "run")
    assert "no images" in say(capsys, "sample {}", tmp_path / "run")
    assert not list((tmp_path / "run" / "samples").glob("*.png"))

    np.savetxt(tmp_path / "table.csv", rows + 1, delimiter=",")
    assert "must be those it was trained on" in refusal(capsys, "evaluate {}", tmp_path / "run")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --out {} --model.priro vamp", "unrecognized arguments: --model.priro"),
        ("train --out {} --model.prior vampire", "Got value: vampire"),
        ("train --out {} --fit.epochs 0", "fit.epochs"),
        ("train --out {} --data.source digitz", "source must be one of"),
        ("train --out {} --fit.batch_size 5000", "batch_size must be between 1 and the number of rows, 1197"),
        ("train --out {} --model.prior vamp --model.num_components 5000", "num_components must be between"),
        ("train --out {} --data.binarize null", "'bernoulli' cannot have made the data"),
        ("evaluate {}", "must hold a finished run; it has no config.yaml"),
        ("compare {}", "must hold a finished run; it has no config.yaml"),
        ("compare {} --fit.epochs 3", "finished runs keep their options"),
        ("compare --model.prior vamp --out {}", "Use --priors instead"),
        ("compare {} --expost mixtures", "Got value: mixtures"),
        ("compare --expost mixture --priors [maf] --out {}", "--expost_of must name compared models, maf; got 'standard'"),
        ("compare --expost flow --expost_of vamp --priors [maf] --out {}", "must name compared models, maf; got 'vamp'"),
        ("compare --expost_of maf --priors [maf] --out {}", "--expost_of has no effect without --expost"),
        ("sample {}", "must hold a finished run; it has no config.yaml"),
        ("sample {} --num_draws 0", "num_draws"),
        ("paint {}", "must be one of train, evaluate, compare, diagnose, report, sample; got 'paint'"),
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


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--overwrite --fit.batch_size 5000",
        "--overwrite --model.priro vamp",
        "--overwrite --data.source nowhere.csv",
    ],
)
def test_an_existing_run_survives_bad_input(options: str, both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(both[0].parent)
    refusal(capsys, "train --out {} " + options, both[0])
    assert contents(both[0].parent) == before


def test_an_interrupted_training_keeps_both_the_old_run_and_the_new_weights(
    both: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(both[0])

    def interrupted(*args: object, **kwargs: object) -> None:
        recipes.fit_vae(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "fit_vae", interrupted)
    with pytest.raises(SystemExit) as exit:
        main(f"train --overwrite --out {both[0]} --fit.seed 1 {SMALL}".split())
    assert exit.value.code == 130 and f"stays in {both[0]}.partial" in capsys.readouterr().err
    assert contents(both[0]) == before
    assert contents(both[0].with_name("standard.partial")).keys() == {"checkpoint.safetensors", "config.yaml", "history.csv"}

    monkeypatch.undo()
    say(capsys, f"train --overwrite --out {{}} --fit.seed 1 {SMALL}", both[0])
    assert contents(both[0])["checkpoint.safetensors"] != before["checkpoint.safetensors"]
    assert both[0].with_name("standard.partial").exists()


def test_a_damaged_run_is_named(both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    (both[0] / "checkpoint.safetensors").write_bytes(b"not tensors")
    assert "no readable safetensors file" in refusal(capsys, "evaluate {}", both[0])
    (both[1] / "config.yaml").write_text("model: {prior: flow}\n")
    assert "Got value: flow" in refusal(capsys, "evaluate {}", both[1])


def test_different_data_are_not_compared(both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    say(capsys, f"train --overwrite --data.seed 5 --out {{}} {SMALL}", both[1])
    assert "data_id must be the same" in refusal(capsys, "compare {} {} --evaluate.num_particles 5", *both)


def test_help_names_every_command_and_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    overview = say(capsys, "--help")
    options = {"train": "--fit.epochs", "evaluate": "--split", "compare": "--priors", "report": "--out", "sample": "--seed"}
    for command, option in options.items():
        assert command in overview
        with pytest.raises(SystemExit) as exit:
            main([command, "--help"])
        assert exit.value.code == 0 and option in capsys.readouterr().out


def test_image_shapes() -> None:
    shapes = {(64,): (8, 8), (784,): (28, 28), (560,): (28, 20), (28, 20): (28, 20), (3, 9, 8): (9, 8, 3)}
    assert {shape: pictures.image_shape(torch.Size(shape)) for shape in shapes} == shapes
    for shape in ((9,), (63,), (2, 8, 8), ()):
        with pytest.raises(ValueError, match="only images"):
            pictures.image_shape(torch.Size(shape))


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
