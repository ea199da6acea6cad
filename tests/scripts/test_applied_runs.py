"""Finished runs applied to new rows: codes, reconstructions, imputations and scores, in the order of the rows."""

from pathlib import Path
import re

import numpy as np
import pandas as pd
import pytest
from shell import SMALL, contents, refusal, say
import torch

from inference import Evaluation, encode, evaluate, impute, load_run, reconstruct
from inference.files.contents import strangers
from inference.runs.kinds import RUN


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a table, new rows of the table, and the same rows with gaps."""
    from inference.scripts.cli import main

    folder, rng = tmp_path_factory.mktemp("applied"), np.random.default_rng(0)
    rows = rng.normal(size=(340, 2)) @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(340, 4))
    table = pd.DataFrame(rows, columns=["weight", "height", "age", "dose"])
    table[:300].to_csv(folder / "old.csv", index=False)
    new = table[300:].reset_index(drop=True)
    new.to_csv(folder / "new.csv", index=False)
    new.mask(rng.random(new.shape) < 0.3).to_csv(folder / "gaps.csv", index=False)
    main(f"train --data.source {folder}/old.csv --model.likelihood gaussian --out {folder}/run {SMALL}".split())
    return folder


def test_codes_are_those_of_python_in_every_format(place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = load_run(place / "run")
    x = run.read(place / "new.csv")
    expected = encode(run.pair, x, seed=0)
    for name in ("codes.csv", "codes.parquet", "codes.npy", "codes.npz"):
        printed = say(capsys, "encode {} --data.source {} --out {}", place / "run", place / "new.csv", tmp_path / name)
        assert "1 draw from q(z|x), seed 0" in printed
    tables = pd.read_csv(tmp_path / "codes.csv"), pd.read_parquet(tmp_path / "codes.parquet")
    assert all(list(table) == ["z0", "z1"] for table in tables)
    for values in (*tables, np.load(tmp_path / "codes.npy"), np.load(tmp_path / "codes.npz")["z"]):
        torch.testing.assert_close(torch.tensor(np.asarray(values)).float(), expected)
    say(capsys, "encode {} --data.source {} --out {} --means", place / "run", place / "new.csv", tmp_path / "means.npy")
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / "means.npy")), encode(run.pair, x, means=True))
    say(capsys, "encode {} --out {} --means", place / "run", tmp_path / "own.npy")
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / "own.npy")), encode(run.pair, run.data.test, means=True))


def test_several_draws_are_numbered(place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("codes.csv", "codes.npy"):
        say(capsys, "encode {} --data.source {} --out {} --draws 3", place / "run", place / "new.csv", tmp_path / name)
    table, array = pd.read_csv(tmp_path / "codes.csv"), np.load(tmp_path / "codes.npy")
    assert array.shape == (3, 40, 2) and not np.allclose(array[0], array[1])
    assert table["draw"].tolist() == [m for m in range(3) for _ in range(40)] and table["row"].tolist() == [*range(40)] * 3
    np.testing.assert_allclose(table[["z0", "z1"]], array.reshape(120, 2), rtol=1e-5)


def test_reconstructions_have_the_columns_of_the_data(place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = load_run(place / "run")
    say(capsys, "reconstruct {} --data.source {} --out {}", place / "run", place / "new.csv", tmp_path / "again.csv")
    table = pd.read_csv(tmp_path / "again.csv")
    assert list(table) == ["weight", "height", "age", "dose"]
    expected = reconstruct(run.pair, run.read(place / "new.csv"), seed=0)
    torch.testing.assert_close(torch.from_numpy(table.to_numpy(np.float32)), expected, rtol=1e-5, atol=1e-5)
    assert "1 draw of z and x" in say(
        capsys, "reconstruct {} --data.source {} --draws 1 --out {}", place / "run", place / "new.csv", tmp_path / "draw.csv"
    )


def test_imputed_tables_keep_what_was_observed(place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run, gaps = load_run(place / "run"), pd.read_csv(place / "gaps.csv")
    printed = say(capsys, "impute {} --data.source {} --out {}", place / "run", place / "gaps.csv", tmp_path / "filled.csv")
    assert f"{int(gaps.isna().to_numpy().sum())} missing cells drawn 1 time from p(x_mis | x_obs)" in printed
    filled, missing = pd.read_csv(tmp_path / "filled.csv"), gaps.isna().to_numpy()
    assert list(filled) == list(gaps) and np.array_equal(filled.to_numpy()[~missing], gaps.to_numpy()[~missing])
    found = impute(run.pair, run.read(place / "gaps.csv", has_gaps=True), seed=0)
    np.testing.assert_allclose(filled.to_numpy()[missing], found.draws[0].numpy()[missing], rtol=1e-5)
    quality = pd.read_csv(tmp_path / "filled-rows.csv")
    assert quality["missing"].tolist() == missing.sum(1).tolist() and np.allclose(quality["ess"], found.ess)
    assert not quality["is_poor"].any() and "Not to be trusted" not in printed
    options = "impute {} --data.source {} --out {} --draws 2 --num_particles 30"
    assert "Not to be trusted: " in say(capsys, options, place / "run", place / "gaps.csv", tmp_path / "few.npy")
    assert np.load(tmp_path / "few.npy").shape == (2, 40, 4)


def test_scores_of_new_rows_are_kept_apart(place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = load_run(place / "run")
    before = contents(place / "run")
    options = "evaluate {} --data.source {} --num_particles 50 --out {}"
    printed = say(capsys, options, place / "run", place / "new.csv", tmp_path / "scores.csv")
    expected = evaluate(run.pair, run.read(place / "new.csv"), num_particles=50)
    (folder,) = (place / "run" / "new").iterdir()
    kept = Evaluation.from_netcdf(folder / "test-K50-seed0-auto.nc")
    assert folder.name == f"new-{expected.data_id[:8]}" and torch.equal(kept.log_px, expected.log_px) and str(expected) in printed
    np.testing.assert_allclose(pd.read_csv(tmp_path / "scores.csv")["log_px"], expected.log_px)
    after = contents(place / "run")
    assert {name: after[name] for name in before if name != "manifest.json"} == {k: v for k, v in before.items() if k != "manifest.json"}
    assert load_run(place / "run").scores == {} and strangers(place / "run", RUN) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("impute {run} --data.source {new} --out z.csv", "must have missing cells, empty or NaN, to be filled in; it has none"),
        ("impute {run} --out z.csv", "--data.source must name a file with missing cells"),
        ("encode {run} --data.source {new} --out z.txt", "--out must end in .csv, .parquet, .npy, .npz"),
        ("encode {run} --data.source {new} --out {new} --overwrite", "must be another file than that of the data"),
        ("encode {run} --data.source {new} --out {gaps}", "exists. Choose another name, or replace it with --overwrite"),
        ("encode {run} --data.source {new} --out {old} --overwrite", "--out must be another file than that of the data"),
        ("evaluate {run} --data.source {new} --out {old} --overwrite", "--out must be another file than that of the data"),
        ("encode {run} --data.source {new} --out nowhere/z.csv", "must be in an existing folder"),
        ("encode {run} --data.source {new} --split valid --out z.csv", "--split has no effect with --data.source"),
        ("encode {run} --data.source {new} --means --draws 2 --out z.csv", "--means are no draws"),
        ("evaluate {run} --data.source {new} --split valid", "--split has no effect with --data.source"),
        ("evaluate {run} --out z.csv", "--out is for scores of --data.source"),
        ("encode {run} --data.sorce {new} --out z.csv", "Did you mean --data.source?"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    place: Path, command: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {"run": place / "run", "old": place / "old.csv", "new": place / "new.csv", "gaps": place / "gaps.csv"}
    assert message in refusal(capsys, command.format(**paths))
    assert list(tmp_path.iterdir()) == []


def test_codes_and_levels_have_names_of_their_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    np.save(tmp_path / "new.npy", load_digits().images[:20].reshape(20, 64))
    discrete = "--model.encoder vq --model.prior uniform --model.num_codes 8 --model.latent_dim 3 --model.hidden [8]"
    for name, options in {"vq": discrete, "levels": "--model.structure stacked --model.latent_dim 2 --model.hidden [8]"}.items():
        say(capsys, f"train --out {{}} {options} --fit.epochs 1", tmp_path / name)
        say(capsys, "encode {} --data.source {} --out {}", tmp_path / name, tmp_path / "new.npy", tmp_path / f"{name}.csv")
    codes, levels = pd.read_csv(tmp_path / "vq.csv"), pd.read_csv(tmp_path / "levels.csv")
    assert list(codes) == [f"z{i}" for i in range(16)] and set(map(str, codes.dtypes)) == {"int64"} and codes.to_numpy().max() < 8
    assert sorted(levels) == ["z1_0", "z1_1", "z2_0", "z2_1"]
    printed = say(capsys, "evaluate {} --data.source {} --num_particles 20", tmp_path / "vq", tmp_path / "new.npy")
    assert "vq~soft" in printed and re.search("[0-9]+ of these 20 rows are among those", printed)
    printed = say(capsys, "reconstruct {} --data.source {} --out {}", tmp_path / "vq", tmp_path / "new.npy", tmp_path / "again.csv")
    assert "binarized above 8" in printed and list(pd.read_csv(tmp_path / "again.csv"))[-1] == "x63"


CLASSES = """
import pyro
import pyro.distributions as dist
import torch

import pyro_lvm as lvm


def classes(data):
    def model(x):
        probs = pyro.param("probs", torch.rand(3, data.train.shape[1]) * 0.8 + 0.1, constraint=dist.constraints.unit_interval)
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(3)), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Bernoulli(probs[c]).to_event(1), obs=x)

    return lvm.Pair(model, lambda x: None)
"""


def test_latents_that_are_summed_out_are_written_where_they_are_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CLASSES)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "old.npy", (rng.random((200, 5)) < 0.5).astype(np.float32))
    np.save(tmp_path / "new.npy", (rng.random((30, 5)) < 0.5).astype(np.float32))
    own = f"--pair {tmp_path}/mine.py:classes --data.source {tmp_path}/old.npy --fit.epochs 1 --fit.batch_size 50"
    say(capsys, f"train {own} --out {{}}", tmp_path / "run")
    command = "encode {} --data.source {} --out {}"
    paths = tmp_path / "run", tmp_path / "new.npy", tmp_path / "codes.csv"
    assert "Ask for their posterior with --enumerated" in refusal(capsys, command, *paths)
    say(capsys, f"{command} --enumerated --means", *paths)
    run = load_run(tmp_path / "run")
    expected = encode(run.pair, run.read(tmp_path / "new.npy"), means=True, enumerated=True)
    assert isinstance(expected, dict) and pd.read_csv(paths[2])["c"].tolist() == expected["c"].tolist()
