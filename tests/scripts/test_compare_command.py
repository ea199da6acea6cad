"""compare: finished runs, models trained for it, and priors fitted after training."""

from pathlib import Path
import shutil

import numpy as np
import pandas as pd
import pytest
from shell import SMALL, contents, refusal, say
import yaml

from inference.recipes.options import EvaluateOptions
from inference.report import report
from inference.runs import folders
from inference.runs import scores as run_scores
from inference.scoring.evaluation import Evaluation
from inference.scoring.importance import evaluate
from inference.scripts.checks.values import plan_expost


def test_compare_scores_runs_once_and_prints_the_table(
    both: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = say(capsys, "compare {} {} --baselines false --evaluate.num_particles 30", *both)
    scores = [Evaluation.from_netcdf(folder / "test-K30-seed0-auto.nc") for folder in both]
    difference = scores[0].log_px - scores[1].log_px
    rows = [line.split() for line in first.splitlines() if line.startswith(str(both[0].parent))]
    assert {row[0] for row in rows[:2]} == {str(folder) for folder in both}
    printed, error = float(rows[1][3]), float(rows[1][4])
    assert error == pytest.approx(float(difference.std()) / 300**0.5, rel=0.05)
    assert printed == pytest.approx(-abs(float(difference.mean())), abs=error)

    monkeypatch.setattr(run_scores, "evaluate_pair", None)
    assert say(capsys, "compare {} {} --baselines false --evaluate.num_particles 30", *both) == first


def test_compare_trains_priors_and_replaces_its_own_output_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = f"compare --priors [standard,maf] --out {{}} --baselines false --evaluate.num_particles 25 {SMALL}"
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
        patch.setattr(report, "diagnosed", lambda *_: (_ for _ in ()).throw(ValueError("no ink.")))
        assert f"no ink. The work done so far is kept in {out}.partial" in refusal(capsys, command + " --overwrite", out)
    assert contents(out) == made
    assert "with --overwrite" in refusal(capsys, command, out)
    say(capsys, command + " --fit.seed 1 --overwrite", out)
    assert contents(out)["maf/checkpoint.safetensors"] != made["maf/checkpoint.safetensors"]

    assert "Choose another --out" in refusal(capsys, "compare {} --out {}", out / "maf", out)
    (out / "comparison.md").write_text("my own words")
    assert "comparison.md was not written by it, or has been changed" in refusal(capsys, command + " --overwrite", out)


def test_compare_fits_priors_after_training_to_the_models_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "comparison"
    options = f"--out {{}} --baselines false --evaluate.num_particles 5 {SMALL} --expost gaussian two-stage"
    printed = say(capsys, f"compare --priors [standard,mixture] {options}", out)
    table = pd.read_csv(out / "comparison.csv", index_col="model")
    assert set(table.index) == {"standard", "standard+gaussian", "standard+two-stage", "mixture"}
    assert printed.count("fitted to 1197 codes in") == 2
    assert {"standard/expost-two-stage/checkpoint.safetensors", "standard/expost-two-stage/test-K5-seed0-auto.nc"} <= set(contents(out))
    kinds = ["gaussian", "two-stage"]
    assert plan_expost(kinds, ["maf"], ["standard"], ["standard", "maf"]) == {"maf": kinds}
    assert plan_expost([], None, ["standard"], ["maf"]) == {}


def test_compare_fits_priors_to_all_runs_and_keeps_their_scores(
    both: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def table(printed: str) -> list[str]:
        return [line for line in printed.splitlines() if "fitted to" not in line]

    command = "compare {} {} --baselines false --evaluate.num_particles 5 --expost mixture flow"
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
        again = evaluate(model.pair, model.data.test, num_particles=5, progress=False)
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
    command = "compare {} --baselines false --evaluate.num_particles 20 --expost autoregressive --out {}"
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
        for work in ("fit_expost", "fit_temperature", "evaluate_pair"):
            patch.setattr(run_scores, work, None)
        again = say(capsys, "compare {} --baselines false --evaluate.num_particles 20 --expost autoregressive", folder)
    assert again.split("Means over")[0].split() == printed.split("Means over")[0].split()[-len(again.split("Means over")[0].split()) :]
    say(capsys, "sample {} --num_draws 5 --expost autoregressive", folder)
    with np.load(folder / "expost-autoregressive" / "samples" / "arrays.npz") as arrays:
        assert arrays["codes"].dtype == np.int64 and arrays["codes"].max() < 8 and arrays["samples"].shape == (5, 64)


def test_yardsticks_stand_beside_runs_and_can_be_named(both: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = "compare {} {} --baselines independent-columns,full-normal --evaluate.num_particles 5 --out {}"
    printed = say(capsys, command, *both, out)
    row = next(line.split() for line in printed.splitlines() if line.startswith("independent-columns"))
    table = pd.read_csv(out / "comparison.csv", index_col="model")
    assert row[-1] == "exact" and float(row[1]) == pytest.approx(-24.5, abs=0.1)
    assert table.loc["independent-columns", "mc_error"] == 0 and set(table.index) == {*map(str, both), "independent-columns"}
    assert "Yardsticks left out: full-normal, as its measure is density, and that of the models mass." in printed
    page = (out / "report.html").read_text()
    assert "the best yardstick" in page and "Yardsticks left out: full" in page and ">exact<" in page
    assert "Did you mean full-normal?" in refusal(capsys, "compare {} --baselines full-norml", both[0])
    assert "classical models" not in say(capsys, "compare {} --baselines false --evaluate.num_particles 5", both[0])


def test_a_table_is_compared_with_factor_analysis_of_as_many_latents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 2)) @ [[1.0, 2.0, 0.5], [0.0, 1.0, 1.0]], columns=["a", "b", "c"])
    (table + np.random.default_rng(1).normal(size=(300, 3)) / 5).to_csv(tmp_path / "table.csv", index=False)
    command = f"compare --data.source {{}} --model.likelihood gaussian --priors standard --out {{}} --evaluate.num_particles 5 {SMALL}"
    printed = say(capsys, command, tmp_path / "table.csv", tmp_path / "out")
    rows = {"standard", "independent-columns", "latent-classes", "full-normal", "factor-analysis", "ppca", "normal-mixture"}
    assert set(pd.read_csv(tmp_path / "out" / "comparison.csv", index_col="model").index) == rows
    assert "factor-analysis with 2 latents, ppca with 2 latents" in printed and "standard is " in printed
