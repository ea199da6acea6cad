"""A finished run with all that its folder holds, wherever it is loaded from; and seeds that files can hold."""

from pathlib import Path
import shutil

import numpy as np
import pytest
from shell import refusal
import torch

import inference
from inference import evaluate, fit, load_data, load_run
from inference.recipes.options import EvaluateOptions
from inference.runs.folders import load_runs
from inference.runs.scores import score_run
from inference.scripts.cli import main
import pyro_lvm as lvm

TINY = "--fit.epochs 1 --fit.batch_size 40 --model.latent_dim 2 --model.hidden [4]"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made in a directory of its own, where its data are."""
    folder = tmp_path_factory.mktemp("made")
    np.save(folder / "data.npy", np.random.default_rng(0).integers(0, 2, (120, 5)).astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(f"train --data.source data.npy --out run {TINY}".split())
        list(score_run(load_runs({"run": Path("run")})["run"], Path("run"), ["gaussian"], EvaluateOptions(num_particles=20)))
    return folder


def test_a_run_is_loaded_with_all_it_holds(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where there are no data
    run = load_run(made / "run")
    assert set(run.scores) == {"test-K20-seed0-auto", "expost-gaussian/test-K20-seed0-auto"}
    again = evaluate(run.pair, run.data, num_particles=20, progress=False)
    assert torch.equal(run.scores["test-K20-seed0-auto"].log_px, again.log_px)
    assert run.recipe.model.hidden == (4,) and len(run.history) == 1 and run.summary["best_epoch"] in (0, 1)
    assert "expost-gaussian" in repr(run)


def test_scores_of_other_weights_are_left_out(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(made / "run", tmp_path / "run"))
    pair = load_run(folder).pair
    with torch.no_grad():
        next(pair.parameters()).add_(1)
    inference.save_checkpoint(pair, folder / "checkpoint.safetensors")
    assert load_run(folder).scores == {}
    said = capsys.readouterr().err
    assert f"{folder}: the weights have changed since test-K20-seed0-auto.nc was written; left out." in said
    assert "checkpoint.safetensors was written; left out." in said


def test_data_that_are_nowhere_are_named(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    shutil.move(made / "data.npy", made / "moved.npy")
    try:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(FileNotFoundError, match=f"must be in data.npy of the current directory, or in {made}/data.npy"):
            load_run(copy / "run")
        monkeypatch.chdir(copy)
        assert len(load_run("run").data.train) == 96
        np.save("data.npy", np.ones((120, 5), np.float32))
        with pytest.raises(ValueError, match="must be those it was trained on"):
            load_run("run")
    finally:
        shutil.move(made / "moved.npy", made / "data.npy")


@pytest.mark.parametrize("seed", ["-1", str(2**63), str(2**64), "0.5"])
@pytest.mark.parametrize(
    "command",
    [
        "train --out {}/x --fit.seed SEED",
        "train --out {}/x --model.seed SEED",
        "train --out {}/x --data.seed SEED",
        "evaluate {} --seed SEED",
        "compare {} --evaluate.seed SEED",
        "report {} --out {}/x --evaluate.seed SEED",
        "diagnose {} --seed SEED",
        "sample {} --seed SEED",
    ],
)
def test_a_seed_out_of_range_is_refused_at_its_option(command: str, seed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before any work: there is no such run."""
    assert "seed" in refusal(capsys, command.replace("SEED", seed), *[tmp_path] * 2)


@pytest.mark.parametrize("seed", [-1, 2**63, True, 0.5])
def test_a_seed_out_of_range_is_refused_by_functions(seed: object) -> None:
    x, pair = torch.zeros(20, 3), None
    calls = [
        lambda: load_data(x, seed=seed),
        lambda: fit(pair, x, seed=seed),
        lambda: evaluate(pair, x, seed=seed),
        lambda: inference.log_weights(pair, x, num_particles=2, seed=seed),
        lambda: inference.bidirectional(pair, x, seed=seed),
        lambda: inference.fit_gaussian_mixture(torch.randn(20, 2), seed=seed),
        lambda: inference.diagnose(lvm.Pair(lambda x: None, lambda x: None), x, seed=seed),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"seed must be an integer( of at least 0 and below 2\*\*63)?; got"):
            call()


def test_the_largest_seed_is_held_by_generators_and_files(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    run, options = load_runs({"run": Path("run")})["run"], EvaluateOptions(num_particles=20, seed=2**63 - 1)
    (row,) = score_run(run, tmp_path, (), options)
    (again,) = score_run(run, tmp_path, (), options)
    assert again.score.seed == 2**63 - 1 and torch.equal(row.score.log_px, again.score.log_px)
    inference.fit_gaussian_mixture(torch.randn(50, 2), num_components=2, seed=2**63 - 1)
