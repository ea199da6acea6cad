"""The report: what is on the page, and that the page needs nothing else."""

from html import unescape
import json
from pathlib import Path
import re
import shutil
import subprocess

import numpy as np
from pages import Page, check_self_contained
import pandas as pd
import pytest
from shell import PRIORS, SMALL, refusal, say

from inference.comparison.verdict import verdict
from inference.scoring.evaluation import Evaluation
from inference.scripts.cli import main

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"


@pytest.fixture(scope="module")
def runs(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the trained runs, which keep the scores of reports."""
    return Path(shutil.copytree(trained, tmp_path_factory.mktemp("reported") / "runs"))


@pytest.fixture(scope="module")
def written(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("written") / "report"
    main(f"report {runs / 'standard'} {runs / 'vamp'} --baselines false --out {out} --evaluate.num_particles 30".split())
    return out


def test_the_report_is_one_page_that_holds_its_pictures(written: Path, runs: Path) -> None:
    html = (written / "report.html").read_text()
    parsed = check_self_contained(html)
    pictures = {path.stem for path in written.glob("*.png")}
    assert pictures == {
        *("differences", "estimate-vs-particles", "reliability", "samples", "reconstructions", "walks", "codes", "curves", "dimension-kl")
    }
    assert len(parsed.sources) == len(pictures)
    table = pd.read_csv(written / "comparison.csv", index_col="model")
    assert parsed.tables[0][0][1:] == [row[0] for row in parsed.tables[1][1:]] == list(table.index)
    assert {row[0] for row in parsed.tables[-1][1:]} == set(PRIORS)
    assert [row[1:5] for row in sorted(parsed.tables[-1][1:])] == [
        ["Bernoulli", prior, "normal", "2 units"] for prior in ("standard normal", "VampPrior, 20 components")
    ]
    labels = [cell for rows in parsed.tables for cell in (*rows[0], *(row[0] for row in rows))]
    assert not [label for label in labels if "_" in label], "labels are words"
    shown = float(parsed.tables[0][1][1].split("\u00a0")[0])
    assert shown == pytest.approx(table["log_px"].iloc[0], abs=table["se"].iloc[0])
    kinds = [f"{name}: {kind}" for name in table.index for kind in ("reconstructions", "prior samples")]
    quality = pd.read_csv(written / "quality.csv", index_col=0)
    assert list(quality.index) == ["real data", *kinds] == [row[0] for row in parsed.tables[2][1:]]
    assert quality.loc["real data", "density"] == pytest.approx(1, abs=5 * quality.loc["real data", "density_se"])
    prices = {row[0]: float(row[3].split("\u00a0")[0]) for row in parsed.tables[3][1:]}
    for name, price in prices.items():
        expected = quality.loc[f"{name}: prior samples", "density"] - quality.loc[f"{name}: reconstructions", "density"]
        assert price == pytest.approx(expected, abs=0.06)
    scores = {prior: Evaluation.from_netcdf(runs / prior / "test-K30-seed0-auto.nc") for prior in PRIORS}
    assert verdict(scores)[0] in html.replace("\u00a0", " ") and "a classifier trained on 1197 labelled" in html


def test_counts_in_a_table_with_one_latent_dimension(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "=cmd()"
    np.savetxt(tmp_path / "table.csv", np.random.default_rng(0).poisson(3, size=(300, 9)), delimiter=",")
    options = f"--model.likelihood poisson {SMALL} --model.latent_dim 1 --fit.batch_size 40"
    say(capsys, "train --data.source {} --out {} " + options, tmp_path / "table.csv", run)
    say(capsys, "report {} --baselines false --out {} --evaluate.num_particles 5", run, tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text()
    assert len(check_self_contained(html).tables[1]) == 2 and "there is nothing to compare it with" in html
    assert "No pictures of samples: data of shape (9,) are not images." in html
    assert "principal components" in html and "Twenty draws or fewer" in html
    assert not (tmp_path / "out" / "samples.png").exists() and (tmp_path / "out" / "codes.png").exists()

    for table in ("comparison.csv", "overview.csv"):  # a spreadsheet must not run the name as a formula
        assert (tmp_path / "out" / table).read_text().splitlines()[1].startswith("'=cmd()")

    monkeypatch.setattr("inference.runs.scores.evaluate_pair", None)  # the kept evaluation serves, and the earlier report goes
    written = (tmp_path / "out").stat().st_ino
    printed = say(capsys, "report {} --baselines false --out {} --overwrite --evaluate.num_particles 5", run, tmp_path / "out")
    assert "may not have converged: the best epoch is the last of 2, and the validation loss fell by 0." in printed
    assert printed.endswith(f"Wrote {tmp_path / 'out' / 'report.html'}.\n")
    assert (tmp_path / "out" / "report.html").read_text() == html and (tmp_path / "out").stat().st_ino != written


def test_fits_with_several_seeds_are_one_recipe(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(f"train --out {tmp_path / 'standard-seed1'} --model.seed 1 --fit.seed 1 {SMALL}".split())
    first = shutil.copytree(runs / "standard", tmp_path / "standard-seed0")
    command = "report {} {} {} --baselines false --out {} --evaluate.num_particles 30"
    printed = say(capsys, command, first, tmp_path / "standard-seed1", runs / "vamp", tmp_path / "out")
    recipes = pd.read_csv(tmp_path / "out" / "recipes.csv", index_col="recipe")
    assert recipes["fits"].to_dict() == {"standard": 2, "vamp": 1} and len(pd.read_csv(tmp_path / "out" / "comparison.csv")) == 3
    html = (tmp_path / "out" / "report.html").read_text()
    page = check_self_contained(html)
    text = " ".join(page.text).replace("\u00a0", " ")
    assert "<h1>2 recipes of digits, 3 fits</h1>" in html and page.tables[0][0][1:3] == ["log p(x)", "fits"]
    assert "a recipe with a single fit has no scatter over seeds" in text
    assert set(page.tables[1][0][1:]) == {"standard-seed0", "vamp"}, "samples and latents are of one fit of each"
    assert {row[0] for row in page.tables[-1][1:]} == {"standard-seed0", "standard-seed1", "vamp"}
    for name in ("standard-seed0", "standard-seed1", "vamp"):
        warning = f"{name} may not have converged: the best epoch is the last of 2"
        assert warning in text and warning in printed


def test_pictures_of_categories_are_of_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savetxt(tmp_path / "table.csv", np.random.default_rng(0).integers(3, size=(400, 64)), delimiter=",")
    say(capsys, f"train --data.source {{}} --out {{}} --model.likelihood categorical {SMALL}", tmp_path / "table.csv", tmp_path / "run")
    options = "--evaluate.num_particles 5 --baselines independent-columns"
    say(capsys, f"report {{}} --out {{}} {options}", tmp_path / "run", tmp_path / "out")
    assert set(pd.read_csv(tmp_path / "out" / "comparison.csv")["model"]) == {"run", "independent-columns"}
    assert (tmp_path / "out" / "samples.png").exists() and (tmp_path / "out" / "walks.png").exists()
    say(capsys, "sample {} --num_draws 3", tmp_path / "run")
    with np.load(tmp_path / "run" / "samples" / "arrays.npz") as arrays:
        assert {*arrays["samples"].flat, *arrays["reconstructions"].flat} <= {0, 1, 2} and "sample_means" not in arrays


def test_bad_input_is_one_line_and_leaves_nothing(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = runs / "standard", tmp_path / "other"
    assert "must hold a finished run" in refusal(capsys, "report {} --out {}", tmp_path / "none", tmp_path / "out")
    assert "RUN (Finished run) must be given" in refusal(capsys, "report --out {}", tmp_path / "out")
    other.mkdir()
    (other / "notes.txt").touch()
    assert "notes.txt was not written by it" in refusal(capsys, "report {} --out {}", run, other)
    assert "must be a folder; got a file" in refusal(capsys, "report {} --out {}", run, other / "notes.txt")
    below = other / "notes.txt" / "out"
    assert f"{below} cannot be written: {other / 'notes.txt'} is not a folder. Choose" in refusal(capsys, "report {} --out {}", run, below)
    inside = shutil.copytree(run, other / "run")
    (other / "report.html").touch()
    assert "is or holds a run and would be replaced" in refusal(capsys, "report {} --out {}", inside, other)
    before = sorted(run.iterdir())
    main(f"train --data.seed 5 --out {tmp_path / 'foreign'} {SMALL}".split())
    assert "the test rows must be the same everywhere" in refusal(
        capsys, "report {} {} --baselines false --out {} --evaluate.num_particles 7", run, tmp_path / "foreign", tmp_path / "out"
    )
    assert sorted(run.iterdir()) == before and not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def measured_in_browser(html: str, folder: Path, width: int) -> dict:
    """What a browser makes of a page: a script added to a copy of it writes that into the title."""
    script = (
        "<script>addEventListener('load', () => { const e = document.documentElement; document.title = JSON.stringify({"
        "title: document.title, images: document.images.length, broken: [...document.images].filter(i => !i.naturalWidth).length,"
        "overflow: e.scrollWidth - e.clientWidth,"
        "requests: performance.getEntriesByType('resource').map(r => r.name).filter(n => !n.startsWith('data:'))}) })</script>"
    )
    (folder / "page.html").write_text(html.replace("</body>", script + "</body>"))
    command = [CHROMIUM, *FLAGS.split(), f"--window-size={width},900", f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run([*command, f"file://{folder / 'page.html'}"], capture_output=True, text=True, timeout=120, check=True)
    return json.loads(unescape(re.search(r"<title>(.*?)</title>", done.stdout, re.S)[1]))


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
@pytest.mark.parametrize("width", [500, 1400])
def test_a_browser_shows_all_of_it_without_the_network(width: int, written: Path, tmp_path: Path) -> None:
    html = (written / "report.html").read_text()
    seen = measured_in_browser(html, tmp_path, width)
    assert seen == {"title": "2 models of digits", "images": len(Page(html).sources), "broken": 0, "overflow": 0, "requests": []}
