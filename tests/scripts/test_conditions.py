"""Labels and covariates from the shell: every command takes runs of models that are given them, or have them as data."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shell import SMALL, refusal, say
from sklearn.datasets import load_digits
import torch

from inference import encode, evaluate, label_posterior, load_run
from inference.runs.folders import load_runs
from inference.runs.kept import kept_scores
from inference.runs.kinds import ARRAYS
from inference.scripts.cli import main

CONDITIONAL = "--model.structure conditional --data.condition labels"
SEMI = "--model.structure semi-supervised --data.condition labels --data.labelled 100"
SMALLER = SMALL.replace("--model.flow_hidden [8] --model.flow_transforms 2", "")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """An unconditional run of digits, one given labels, and one with a hundred labels."""
    folder = tmp_path_factory.mktemp("labelled")
    for name, options in {"plain": "", "given": CONDITIONAL, "semi": SEMI}.items():
        train_without_flows(folder / name, options)
    return [folder / name for name in ("plain", "given", "semi")]


def train_without_flows(folder: Path, options: str) -> None:
    main(f"train --out {folder} {SMALLER} {options}".split())


def test_runs_are_scored_and_compared_beside_others(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    said = say(capsys, "evaluate {} {} --num_particles 20", *runs[1:])
    assert said.count("p(x) is given the arguments that the pair does not observe") == 1
    table = say(capsys, "compare {} {} {} --baselines false --evaluate.num_particles 20", *runs)
    assert f"{runs[1]}: log p(x) given arguments of the pair that it does not observe" in table
    capsys.readouterr()
    kept = [load_run(run).scores["test-K20-seed0-auto"] for run in runs]
    assert [score.data_id == kept[0].data_id for score in kept] == [True] * 3 and [bool(score.given_id) for score in kept] == [0, 1, 0]
    assert capsys.readouterr().err == ""


def test_runs_are_reported_sampled_and_diagnosed(runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    say(capsys, "report {} {} {} --baselines false --evaluate.num_particles 20 --out {}", *runs, tmp_path / "page")
    page = (tmp_path / "page" / "report.html").read_text()
    assert "normal, by what is given" in page and "prior depends on a condition" in page
    say(capsys, "sample {} --num_draws 6 --given 3 --out {}", runs[1], tmp_path / "samples")
    arrays = np.load(tmp_path / "samples" / ARRAYS)
    assert arrays["given_labels"].tolist() == [3] * 6 and arrays["samples"].shape == (6, 64)
    assert "must be a category from 0 to 9; got 13" in refusal(capsys, "sample {} --given 13 --out {}", runs[1], tmp_path / "no")
    assert "must have one value for each condition (none); got 1" in refusal(
        capsys, "sample {} --given 1 --out {}", runs[0], tmp_path / "no"
    )
    said = say(capsys, "diagnose {} --split train --num_draws 100", runs[1])
    assert [f"labels {label}\n" in said for label in range(10)] == [True] * 10
    assert (runs[1] / "diagnosis.csv").read_text().startswith("given,figure,value,se,note\nlabels 0,rate,")
    assert "labels 0" not in say(capsys, "diagnose {} --num_draws 100", runs[2])


def test_a_run_with_missing_labels_knows_their_posterior(runs: list[Path]) -> None:
    run = load_run(runs[2])
    assert run.data.given["labels"]["train"].ne(-1).sum() == 100 and run.data.given["labels"]["test"].unique().tolist() == [-1]
    few = tuple(x[:50] for x in run.data.batch("test"))
    posterior = label_posterior(run.pair, *few, num_particles=100)
    assert posterior.probabilities.shape == (50, 10) and posterior.accuracy(run.data.labels["test"][:50])[0] <= 1


def test_other_labels_are_other_data(runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).integers(2, size=(120, 5)).astype(np.uint8), np.arange(120) % 3
    np.savez(tmp_path / "data.npz", x=x, y=y)
    options = f"--model.structure conditional --data.condition y --data.source {tmp_path}/data.npz --fit.batch_size 50"
    main(f"train --out {tmp_path / 'run'} {SMALLER} {options}".split())
    say(capsys, "evaluate {} --num_particles 20", tmp_path / "run")
    assert list(kept_scores(load_runs({"run": tmp_path / "run"})["run"], tmp_path / "run")) == ["test-K20-seed0-auto"]
    np.savez(tmp_path / "data.npz", x=x, y=(y + 1) % 3)
    assert "must be those it was trained on" in refusal(capsys, "evaluate {} --num_particles 20", tmp_path / "run")


def test_new_rows_bring_their_labels(runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    digits = load_digits()
    x, y = digits.data[:30].astype(np.uint8), digits.target[:30]
    np.savez(tmp_path / "new.npz", x=x, labels=y)
    np.save(tmp_path / "bare.npy", x)
    run = load_run(runs[1])
    rows, labels = run.read(tmp_path / "new.npz")
    assert torch.equal(labels, torch.from_numpy(y)) and rows.shape == (30, 64)
    say(capsys, "encode {} --data.source {}/new.npz --means --out {}/codes.npy", runs[1], tmp_path, tmp_path)
    assert np.allclose(np.load(tmp_path / "codes.npy"), encode(run.pair, rows, labels, means=True).numpy(), atol=1e-6)
    say(capsys, "evaluate {} --data.source {}/new.npz --num_particles 20 --out {}/scores.csv", runs[1], tmp_path, tmp_path)
    kept = pd.read_csv(tmp_path / "scores.csv")["log_px"]
    assert np.allclose(kept, evaluate(run.pair, (rows, labels), num_particles=20, progress=False).log_px)
    np.savez(tmp_path / "wrong.npz", x=x, labels=y + 5)
    for file, message in (("bare.npy", "labels must be in the file beside the rows"), ("wrong.npz", "whole numbers from 0 to 9")):
        assert message in refusal(capsys, "encode {} --data.source {} --out {}", runs[1], tmp_path / file, tmp_path / "no.npy")
    assert load_run(runs[2]).read(tmp_path / "bare.npy")[1].tolist() == [-1] * 30
    assert torch.equal(load_run(runs[2]).read(tmp_path / "new.npz")[1], labels)
    assert isinstance(load_run(runs[0]).read(tmp_path / "bare.npy"), torch.Tensor)


def test_new_tables_bring_their_covariates(tmp_path: Path) -> None:
    table = pd.DataFrame(np.random.default_rng(0).integers(2, size=(120, 3)), columns=["a", "b", "c"]).assign(age=np.arange(120) / 60)
    table.to_csv(tmp_path / "table.csv", index=False)
    options = f"--model.structure conditional --data.condition age --data.source {tmp_path}/table.csv --fit.batch_size 50"
    main(f"train --out {tmp_path / 'run'} {SMALLER} {options}".split())
    table[["age", "a", "b", "c"]].iloc[:7].to_csv(tmp_path / "new.csv", index=False)
    x, ages = load_run(tmp_path / "run").read(tmp_path / "new.csv")
    assert np.array_equal(x, table[["a", "b", "c"]][:7]) and ages[:, 0].tolist() == pytest.approx(table["age"][:7].tolist())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--data.condition labels", "structure 'flat' takes nothing besides the data; got data.condition"),
        ("--model.structure conditional", "structure 'conditional' takes conditions besides the data; got none"),
        ("--model.structure semi-supervised --data.condition a,b", "structure 'semi-supervised' takes a label besides the data; got 2"),
        (f"{CONDITIONAL} --model.prior vamp", "has a normal prior, with mean and scale by the condition; got prior 'vamp'"),
        (f"{SEMI} --model.prior vamp", "prior 'vamp' is made of q(z|x)"),
        (f"{CONDITIONAL} --model.encoder vq --model.prior uniform", "has latents that are vectors; got encoder 'vq' of codes"),
        (CONDITIONAL.replace("labels", "names"), "digits: condition must be one of labels; got 'names'"),
        (f"{CONDITIONAL} --data.labelled 100", "structure 'conditional' needs all labels; got 1697 that are missing"),
        (f"{SEMI}0000", "labelled must be at most 1197, the number of training data with a label; got 1000000"),
    ],
)
def test_what_does_not_go_together_is_refused(words: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert message in refusal(capsys, f"train {words} --out {{}}", tmp_path / "out")


def test_other_likelihoods_and_networks_take_conditions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 4))
    header = "age,dose,a,b"
    rows[:, 1] = rng.integers(3, size=200)
    np.savetxt(tmp_path / "table.csv", rows, delimiter=",", header=header, comments="")
    options = f"--model.structure conditional --data.condition age dose --data.source {tmp_path}/table.csv --fit.batch_size 50"
    train_without_flows(tmp_path / "table", f"{options} --model.likelihood gaussian --model.encoder full-rank")
    pair = load_run(tmp_path / "table").pair
    assert pair.encoder.network.network.in_shape == (2 + 1 + 3,)
    train_without_flows(tmp_path / "conv", f"{CONDITIONAL} --data.shape 1,8,8 --model.network conv --model.hidden 4")
    train_without_flows(tmp_path / "bytes", f"{SEMI} --data.binarize null --model.likelihood poisson")
