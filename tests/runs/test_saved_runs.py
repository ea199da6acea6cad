"""A finished run with all that its folder holds, wherever it is loaded from; and seeds that files can hold."""

from collections.abc import Iterator
from pathlib import Path
import shutil

import numpy as np
import pandas as pd
import pytest
from shell import refusal
import torch

import inference
from inference import evaluate, fit, load_data, load_run, log_weights
from inference.recipes.options import EvaluateOptions
from inference.runs.folders import load_runs
from inference.runs.scores import score_run
from inference.scripts.cli import main
import pyro_lvm as lvm
from pyro_lvm.reading import read_rows

OWN = """
import pyro_lvm as lvm

class Shifted(lvm.VAE):
    def guide(self, x):
        return super().guide(x - self.mean)

def make_pair(data):
    pair = Shifted(lvm.StandardNormal(2), lvm.GaussianLikelihood(lvm.MLP(2, [4], 3)), lvm.NormalEncoder(lvm.MLP(3, [4], 4)))
    pair.mean = float(data.train.std())
    return pair
"""
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


def test_a_loaded_run_knows_its_training_rows(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    run = load_runs({"run": Path("run")})["run"]
    assert evaluate(run.pair, run.data.train.flip(0), num_particles=5, progress=False).num_fitted == len(run.data.train)
    assert not evaluate(run.pair, run.data, num_particles=5, progress=False).num_fitted
    rows = score_run(run, Path(shutil.copytree("run", tmp_path / "run")), ["gaussian"], EvaluateOptions(num_particles=20, split="train"))
    assert [row.score.num_fitted for row in rows] == [len(run.data.train)] * 2  # the second one of a prior that is loaded


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


@pytest.fixture
def moved(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What was made, in another place; where it was made, there are no data, and neither are there in the current directory."""
    monkeypatch.chdir(tmp_path)
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    shutil.move(made / "data.npy", made / "moved.npy")
    yield copy
    shutil.move(made / "moved.npy", made / "data.npy")


def test_data_are_found_where_they_lay_beside_the_run(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(load_run(moved / "run").data.train) == 96
    monkeypatch.chdir(moved)
    np.save("data.npy", np.ones((120, 5), np.float32))
    with pytest.raises(ValueError, match="must be those it was trained on"):
        load_run("run")


def test_a_run_without_its_data_is_its_pair(made: Path, moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, data = load_run(moved / "run"), moved / "data.npy"
    new = data.rename(moved / "new.npy")
    missing = f"data.npy of the current directory, or in {data} or {made}/data.npy, where they were; they are in none of these"
    with pytest.warns(UserWarning, match=missing):
        alone = load_run(moved / "run")
    x = alone.read(new)
    assert torch.equal(x, whole.read(new)) and alone.scores == {} and len(alone.history) == 1
    assert torch.equal(log_weights(alone.pair, x, num_particles=3, seed=0), log_weights(whole.pair, x, num_particles=3, seed=0))
    assert evaluate(alone.pair, whole.data.train, num_particles=2, progress=False).num_fitted == 96
    with pytest.raises(FileNotFoundError, match=missing):
        _ = alone.data
    main(f"encode {moved}/run --data.source {new} --out {moved}/codes.npy".split())
    assert len(np.load(moved / "codes.npy")) == 120
    assert missing in refusal(capsys, f"encode {moved}/run --out {moved}/more.npy")


def test_a_table_is_read_without_the_one_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=60), "n": rng.poisson(3, 60), "c": np.array(["x", "y", "z"])[rng.integers(0, 3, 60)]})
    table.loc[:5, ["a", "c"]] = None
    table["g"] = np.array(["u", "v"])[rng.integers(0, 2, 60)]
    table.to_csv("data.csv", index=False)
    main(f"train --data.source data.csv --data.condition g --model.structure conditional --out run {TINY}".split())
    whole = load_run("run")
    Path("data.csv").rename("new.csv")
    with pytest.warns(UserWarning, match="the pair is loaded alone, and without scores"):
        alone = load_run("run")
    for rows in zip(alone.read("new.csv"), whole.read("new.csv"), read_rows(table[["g", "c", "n", "a"]], pair=alone.pair), strict=True):
        assert all(torch.equal(x.nan_to_num(9), rows[0].nan_to_num(9)) for x in rows)
    scores = [evaluate(run.pair, table, num_particles=5, progress=False) for run in (whole, alone)]
    assert torch.equal(scores[0].log_px, scores[1].log_px)


def test_what_its_data_alone_make_of_a_pair_is_not_loaded_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("data.npy", np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32))
    Path("own.py").write_text(OWN)
    main(
        ["train", "--data.source", "data.npy", "--pair", "own.py:make_pair", "--out", "run", "--fit.epochs", "1", "--fit.batch_size", "40"]
    )
    Path("data.npy").rename("new.npy")
    with pytest.raises(FileNotFoundError, match="Without them, the pair cannot be built: the pair that make_pair makes is not the one"):
        load_run("run")


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
