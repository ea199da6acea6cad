"""A table as it is, from the shell: compared, scored, encoded, imputed and sampled with the names of its columns and values."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shell import refusal, say
import yaml

from inference import load_run

TINY = "--model.latent_dim 2 --model.hidden 4 --fit.epochs 1"
N = 130


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    z = rng.normal(size=N)
    whole = pd.DataFrame(
        {
            "income": 3e4 + 1e4 * z,
            "visits": rng.poisson(np.exp(2 + z)),
            "stars": np.digitize(z, [-1, 0, 1]) + 1,
            "colour": rng.choice(["red", "green", "blue"], N),
            "member": np.where(z > 0, "yes", "no"),
        }
    )
    gaps = whole.astype(object).mask(rng.random(whole.shape) < 0.15)
    return pd.concat([pd.DataFrame({"id": np.arange(N) + 100}), gaps], axis=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from inference.scripts.cli import main

    folder = tmp_path_factory.mktemp("named")
    table().to_csv(folder / "people.csv", index=False)
    command = f"compare --data.source {folder}/people.csv --data.drop id --priors standard,mixture,vamp --out {folder}/runs"
    options = f"{TINY} --model.num_components 3 --evaluate.num_particles 20"
    main([*command.split(), "--data.kinds", "{visits: count}", *options.split()])
    return folder


def test_the_report_names_the_kinds_and_each_figure_is_mixed(place: Path) -> None:
    page = (place / "runs" / "report.html").read_text()
    assert "1 real (income), 1 count (visits), 1 ordinal (stars: 4 values), 1 category (colour: 3 values), 1 binary (member)" in page
    assert "Samples are not judged: the data have missing cells" in page
    assert load_run(place / "runs" / "vamp").data.columns == ("income", "visits", "stars", "colour", "member")
    assert yaml.safe_load((place / "runs" / "vamp" / "config.yaml").read_text())["data"]["kinds"] == {"visits": "count"}


def test_imputed_tables_keep_known_cells_and_have_the_values_of_their_columns(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gaps = pd.read_csv(place / "people.csv")
    run, known = place / "runs" / "standard", gaps.notna()
    for options, count in (("", 1), ("--draws 3", 3), ("--center --draws 20", 1)):
        out = tmp_path / f"filled{len(options)}.csv"
        say(capsys, f"impute {{}} --data.source {{}} --out {{}} --num_particles 50 {options}", run, place / "people.csv", out)
        filled = pd.read_csv(out)
        assert len(filled) == count * N and not filled.isna().any(axis=None)
        first = filled[filled.get("draw", 0 * filled["id"]) == 0][gaps.columns].reset_index(drop=True)
        for name in gaps:
            pd.testing.assert_series_equal(first[name][known[name]], gaps[name][known[name]], check_dtype=False)
        assert set(filled["colour"]) == {"red", "green", "blue"} and set(filled["member"]) == {"yes", "no"}
        assert set(filled["stars"]) <= {1, 2, 3, 4} and (filled["visits"] == filled["visits"].round()).all()
    shares = pd.read_csv(tmp_path / "filled19-probabilities.csv")
    assert set(shares["column"]) == {"stars", "colour", "member"}
    np.testing.assert_allclose(shares.groupby(["row", "column"])["probability"].sum(), 1.0)
    best = shares[shares["column"] == "colour"].sort_values("probability").groupby("row").tail(1).set_index("row")
    sure = best[best["probability"] > 0.5]
    assert (filled["colour"][sure.index] == sure["value"]).all()


def test_codes_samples_and_reconstructions_of_rows_with_gaps(place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = place / "runs" / "vamp"
    say(capsys, "encode {} --data.source {} --out {} --means", run, place / "people.csv", tmp_path / "codes.csv")
    assert pd.read_csv(tmp_path / "codes.csv").shape == (N, 2)
    say(capsys, "reconstruct {} --data.source {} --out {}", run, place / "people.csv", tmp_path / "again.csv")
    say(capsys, "sample {} --num_draws 5", run)
    for path in (tmp_path / "again.csv", run / "samples" / "samples.csv"):
        written = pd.read_csv(path)
        assert list(written) == ["income", "visits", "stars", "colour", "member"]
        assert set(written["colour"]) <= {"red", "green", "blue"} and set(written["stars"]) <= {1, 2, 3, 4}
    assert "104 of these 130 rows are among those" in say(
        capsys, "evaluate {} --num_particles 10 --data.source {}", run, place / "people.csv"
    )


def test_new_rows_with_other_values_are_refused_by_name(place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    other, run = pd.read_csv(place / "people.csv"), place / "runs" / "standard"
    for change, message in (
        ({"colour": "pink"}, "new.csv: column colour must hold one of blue, green, red; got 'pink' in row 0"),
        ({"income": "much"}, "new.csv: column income must hold numbers; got 'much' in row 0"),
        ({"extra": 1}, "it also has extra"),
    ):
        other.assign(**change).to_csv(tmp_path / "new.csv", index=False)
        refused = refusal(capsys, "encode {} --data.source {} --out {}", run, tmp_path / "new.csv", tmp_path / "codes.csv")
        assert message in refused


def test_a_likelihood_of_one_kind_on_a_table(place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    numbers = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)) * [1, 1e3, 1e-3] + [0, 1e4, 1], columns=["a", "b", "c"])
    numbers.to_csv(tmp_path / "numbers.csv", index=False)
    options = f"--model.likelihood gaussian {TINY} --fit.batch_size 40"
    say(capsys, f"train --data.source {{}} --out {{}} {options}", tmp_path / "numbers.csv", tmp_path / "run")
    likelihood = load_run(tmp_path / "run").pair.likelihood
    assert likelihood.scale[1] > 500 and likelihood.scale[2] < 0.002 and likelihood.noise.value.numel() == 1
    options = f"--data.drop id --model.likelihood poisson {TINY}"
    message = refusal(capsys, f"train --data.source {{}} --out {{}} {options}", place / "people.csv", tmp_path / "poisson")
    assert "likelihood 'poisson' takes numbers without gaps" in message and "mixed" in message


def test_imputed_text_differs_only_where_cells_were_missing(place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = (place / "people.csv").read_text().replace(",", ";").replace(".", ",").replace("\n1", "\n001")  # id 100 is 00100
    (tmp_path / "new.csv").write_text(text)
    options = "impute {} --data.source {} --out {} --num_particles 20"
    say(capsys, options, place / "runs" / "standard", tmp_path / "new.csv", tmp_path / "out.csv")
    before, after = ([line.split(";") for line in part.splitlines()] for part in (text, (tmp_path / "out.csv").read_text()))
    pairs = [(old, new) for was, now in zip(before, after, strict=True) for old, new in zip(was, now, strict=True)]
    assert text.startswith("id;income;visits") and before[1][0] == "00100"
    assert all(old == new for old, new in pairs if old) and all(new and "." not in new for _, new in pairs)


def test_a_folder_of_runs_names_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("evaluate {}", "encode {} --out codes.csv", "compare {}"):
        message = refusal(capsys, command, place / "runs")
        assert f"must hold a finished run; it holds 3 runs, mixture, standard, vamp. Name one of these: {place}/runs/mixture" in message


def test_a_small_table_needs_no_option_and_its_run_no_other_rows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    frame, (file, run) = table().drop(columns="id")[:60], (tmp_path / "few.csv", tmp_path / "run")
    frame.to_csv(file, index=False)
    say(capsys, f"train --data.source {{}} --out {{}} {TINY}", file, run)
    assert load_run(run).summary["batch_size"] == 48  # fewer than the default of 100
    frame[:0].to_csv(tmp_path / "none.csv", index=False)
    assert "none.csv must have rows" in refusal(capsys, "evaluate {} --data.source {}", run, tmp_path / "none.csv")
    frame.assign(income=1.5 * frame["income"]).to_csv(file, index=False)
    assert "must be those it was trained on" in refusal(capsys, "train --resume --out {} --fit.epochs 2", run)
    assert not (tmp_path / "run.partial").exists() and (run / "summary.yaml").is_file()
