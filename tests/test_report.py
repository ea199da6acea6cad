"""The report: what it says in words, what is on the page, and that the page needs nothing else."""

from html import unescape
from html.parser import HTMLParser
import json
from pathlib import Path
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
from oracles import LinearGaussian
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
from test_scripts import SMALL, refusal, say
import torch

from inference import diagnose
from inference.comparison.verdict import verdict
from inference.formatting import format_with_error
from inference.predictive.draws import encode, sample_latents
from inference.predictive.interpolation import interpolate
from inference.report import report
from inference.report import samples as report_samples
from inference.report.html import Notes, Paragraph, Table, page
from inference.report.plots.latents import _plane, draw_codes, draw_dimension_kl, holes
from inference.scoring.evaluation import Evaluation
from inference.scoring.reduction import curve_particles, reduce_log_weights
from inference.scripts.cli import main
from inference.scripts.report import name_runs
from pyro_lvm import BernoulliLikelihood, ConvDecoder, HierarchicalVAE, Pair, StandardNormal, conv_ladder

PRIORS = ("standard", "vamp")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"


class Page(HTMLParser):
    """The tables, links and pictures of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sources, self.links, self.tags, self.tables, self.text = [], [], [], [], []
        self.is_in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append(tag)
        attributes = dict(attributes)
        self.sources += [attributes[name] for name in ("src", "srcset", "data", "poster") if name in attributes]
        self.links += [attributes["href"]] if "href" in attributes else []
        assert tag != "img" or attributes["alt"]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
            self.is_in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.is_in_cell &= tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.is_in_cell:
            self.tables[-1][-1][-1] += data


def check_self_contained(html: str) -> Page:
    parsed = Page(html)
    assert parsed.sources and all(source.startswith("data:image/png;base64,") for source in parsed.sources)
    assert parsed.links and all(link.startswith("#") for link in parsed.links)
    assert not {"script", "link", "iframe", "object"} & set(parsed.tags)
    assert "http" not in re.sub(r"base64,[^\"]*", "", html) and "url(" not in html and "@import" not in html
    for link in parsed.links:
        assert f'id="{link[1:]}"' in html
    return parsed


def score(mean, *, num_particles=1000, scale=0.3, seed=0, is_bound=False, noise=0.1):
    """An evaluation of 400 data whose log p(x) share a spread of 2, and have ``noise`` of their own."""
    generator = torch.Generator().manual_seed(seed)
    common = 2 * torch.randn(400, generator=torch.Generator().manual_seed(99)).double()
    own = noise * torch.randn(400, generator=generator).double()
    weights = mean + common + own + scale * torch.randn(num_particles, 400, generator=generator).double() - scale**2 / 2
    is_bound = is_bound or num_particles == 1
    summary = reduce_log_weights(weights, is_bound=is_bound)._asdict()
    fields = {"num_particles": num_particles, "seed": 0, "measure": "mass", "data_id": "d", "num_dims": 9}
    fields |= {"curve_particles": curve_particles(num_particles), "is_bound": is_bound}
    return Evaluation(**summary, **fields)


def test_the_verdict_names_the_best_and_what_cannot_be_told_apart():
    scores = {"c": score(-15, seed=1), "a": score(-10, seed=2), "b": score(-10.0, seed=3, noise=3.0)}
    gap = float((scores["a"].log_px - scores["b"].log_px).mean())
    assert abs(gap) < 2 * 3 / 20
    first, second, third, *rest = verdict(scores)
    best, other = ("a", "b") if gap > 0 else ("b", "a")
    assert first.startswith(f"{best} comes first, with log p(x) = -10.")
    assert second.startswith("It is ahead of c (by 5.") and "2 standard errors of the paired difference" in second
    assert third.startswith(f"It cannot be told apart from {other} (by ")
    assert rest == ["Pareto k-hat finds no datum whose estimate is unreliable."]
    assert verdict({"a": scores["a"], "c": scores["c"]})[0].startswith("a is best, with log p(x) = -10.")


def test_the_verdict_says_what_cannot_be_trusted():
    lines = verdict({"wide": score(-10, scale=1.6), "narrow": score(-12)})
    unreliable = score(-10, scale=1.6).bad_k_share
    assert 0.05 < unreliable < 0.5 and f"wide {100 * unreliable:.0f}%, narrow 0%" in lines[2]
    share = re.search(r"On the (\d+)% of the data that are reliable for both, wide less narrow is [12].\d+ ± ", lines[3])
    assert int(share[1]) == pytest.approx(100 * (1 - unreliable), abs=1)
    first, *_, fourth, last = verdict({"wide": score(0, scale=6.0), "narrow": score(-12)})
    assert first.startswith("wide comes first")
    assert fourth == "That is most of the data for wide: read the figure as a lower bound, or draw more."
    assert last == "Hardly a datum is reliable for both wide and narrow: do not rely on their difference."


def test_the_verdict_says_what_is_a_bound():
    lines = verdict({"bound": score(-10, is_bound=True), "estimate": score(-12)})
    assert lines[0].startswith("bound comes first, with log p(x) at least -10")
    assert any(line.startswith("Of bound only a lower bound on log p(x) is known") for line in lines)
    alone = verdict({"one": score(-10, num_particles=1)})
    assert alone[0].endswith("there is nothing to compare it with.") and len(alone) == 2
    assert any("Twenty draws or fewer" in line for line in verdict({"few": score(-10, num_particles=15)}))


def test_holes_are_where_one_density_is_high_and_the_other_a_tenth():
    first, second = np.array([0.5, 0.3, 0.15, 0.05, 0.0]), np.array([0.05, 0.031, 0.0, 0.0, 0.919])
    assert holes(first, second).tolist() == [True, False, False, False, False]
    assert holes(second, first).tolist() == [False, False, False, False, True]
    assert not holes(first, first).any()


def test_the_plane_is_the_one_that_tells_data_apart():
    """Of 10 rotated dimensions two differ between data; the others have more variance, and it is all noise."""
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(10, 10, generator=generator)).Q
    signal = torch.randn(800, 2, generator=generator)
    noise = 5 * torch.randn(2, 800, 8, generator=generator)
    codes = torch.cat([signal.expand(2, -1, -1), noise], -1) @ rotation
    plane, prior = _plane(codes, codes.flatten(0, 1))
    np.testing.assert_array_equal(plane, prior)
    np.testing.assert_allclose(np.cov(plane.T), np.eye(2), atol=1e-6)
    explained = np.linalg.lstsq(np.c_[plane[:800], np.ones(800)], signal.numpy(), rcond=None)[1] / (800 * signal.var(0).numpy())
    assert (explained < 0.01).all()


def test_pictures_of_latent_spaces_of_any_dimension(tmp_path):
    codes = {f"{D}-D": torch.randn(2, 50, D, generator=torch.Generator().manual_seed(D)) for D in (1, 2, 3, 7)}
    draw_codes(codes, {name: 10 * z.flatten(0, 1) for name, z in codes.items()}, tmp_path / "codes.png")
    kl = pd.DataFrame({"value": [0.1, 3.0, 0.0], "se": [0.01, np.nan, 0.0]})
    draw_dimension_kl({"a": kl, "b": kl[:1]}, tmp_path / "kl.png")
    assert {path.name for path in tmp_path.iterdir()} == {"codes.png", "kl.png"}


def test_walks_turn_evenly_and_change_length_evenly():
    a, b = torch.tensor([2.0, 0.0, 0.0]).double(), torch.tensor([0.0, 0.0, 4.0]).double()
    path = interpolate(a, b, 4)
    torch.testing.assert_close(path.norm(dim=1), torch.tensor([2, 8 / 3, 10 / 3, 4]).double())
    angles = torch.atan2(path[:, 2], path[:, 0])
    torch.testing.assert_close(angles, torch.linspace(0, np.pi / 2, 4).double())
    for end in (-a, 2 * a, 0 * a):
        torch.testing.assert_close(interpolate(a, end, 3), torch.stack([a, (a + end) / 2, end]))
    assert interpolate(torch.zeros(1), torch.ones(1), 2).tolist() == [[0.0], [1.0]]
    shares = interpolate(torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.0, 0.1, 0.9]), 5)
    torch.testing.assert_close(shares.sum(1), torch.ones(5))
    torch.testing.assert_close(shares[2], torch.tensor([0.35, 0.15, 0.5]))
    with pytest.raises(ValueError, match="num_steps must be an integer of at least 2"):
        interpolate(a, b, 1)


def test_latents_of_the_prior_are_those_that_samples_come_from():
    oracle = LinearGaussian()
    z = sample_latents(oracle, oracle.sample(20000), seed=0)
    assert z.shape == (20000, 2) and (z.mean(0).abs() < 5 / 20000**0.5).all()
    assert (torch.cov(z.T) - torch.eye(2)).abs().max() < 6 * (2 / 20000) ** 0.5


def test_texts_are_escaped():
    frame = pd.DataFrame({"<i>": ["a & b", '"q"']}, index=["<script>alert(1)</script>", "1 ± 2 k-hat"])
    blocks = [Table(frame, "<caption>"), Notes(["<li>"]), Paragraph("<p>")]
    html = page("<b>", "a < b", ["c > d"], {"E & F": blocks})
    parsed = Page(html)
    assert parsed.tables[0] == [["", "<i>"], ["<script>alert(1)</script>", "a & b"], ["1\u00a0±\u00a02 k\u2011hat", '"q"']]
    assert "script" not in parsed.tags and "b" not in parsed.tags and "i" not in parsed.tags
    assert parsed.links == ["#e-f"] and "<title>&lt;b&gt;</title>" in html and unescape("&lt;p&gt;") in parsed.text


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    for prior in PRIORS:
        main(f"train --out {folder / prior} --model.prior {prior} --model.num_components 20 {SMALL}".split())
    return folder


@pytest.fixture(scope="module")
def written(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("written") / "report"
    main(f"report {trained / 'standard'} {trained / 'vamp'} --out {out} --evaluate.num_particles 30".split())
    return out


def test_the_report_is_one_page_that_holds_its_pictures(written: Path, trained: Path) -> None:
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
    scores = {prior: Evaluation.from_netcdf(trained / prior / "test-K30-seed0.nc") for prior in PRIORS}
    assert verdict(scores)[0] in html.replace("\u00a0", " ") and "a classifier trained on 1197 labelled" in html


def test_counts_in_a_table_with_one_latent_dimension(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savetxt(tmp_path / "table.csv", np.random.default_rng(0).poisson(3, size=(300, 9)), delimiter=",")
    options = f"--model.likelihood poisson {SMALL} --model.latent_dim 1 --fit.batch_size 40"
    say(capsys, "train --data.source {} --out {} " + options, tmp_path / "table.csv", tmp_path / "run")
    say(capsys, "report {} --out {} --evaluate.num_particles 5", tmp_path / "run", tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text()
    assert len(check_self_contained(html).tables[1]) == 2 and "there is nothing to compare it with" in html
    assert "No pictures of samples: data of shape (9,) are no images." in html
    assert "principal components" in html and "Twenty draws or fewer" in html
    assert not (tmp_path / "out" / "samples.png").exists() and (tmp_path / "out" / "codes.png").exists()

    (tmp_path / "out" / "stale").touch()
    monkeypatch.setattr("inference.runs.scores.evaluate_vae", None)  # the kept evaluation serves, and the earlier report goes
    printed = say(capsys, "report {} --out {} --evaluate.num_particles 5", tmp_path / "run", tmp_path / "out")
    assert printed == f"Wrote {tmp_path / 'out' / 'report.html'}.\n"
    assert (tmp_path / "out" / "report.html").read_text() == html and not (tmp_path / "out" / "stale").exists()


def test_pictures_of_categories_are_of_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savetxt(tmp_path / "table.csv", np.random.default_rng(0).integers(3, size=(400, 64)), delimiter=",")
    say(capsys, f"train --data.source {{}} --out {{}} --model.likelihood categorical {SMALL}", tmp_path / "table.csv", tmp_path / "run")
    say(capsys, "report {} --out {} --evaluate.num_particles 5", tmp_path / "run", tmp_path / "out")
    assert (tmp_path / "out" / "samples.png").exists() and (tmp_path / "out" / "walks.png").exists()
    say(capsys, "sample {} --num_draws 3", tmp_path / "run")
    with np.load(tmp_path / "run" / "samples" / "arrays.npz") as arrays:
        assert {*arrays["samples"].flat, *arrays["reconstructions"].flat} <= {0, 1, 2} and "sample_means" not in arrays


def run_of(vae: object, x: torch.Tensor) -> SimpleNamespace:
    data = SimpleNamespace(train=x, valid=x, test=x, transform=None, labels=None, alphabet=None)
    return SimpleNamespace(vae=vae, data=data, has_means=True)


def test_discrete_latents_have_no_plane_and_no_walks(tmp_path):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.ones(3)))
            pyro.sample("x", dist.Bernoulli(torch.full((4, 64), 0.5)[z]).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(torch.ones(len(x), 3)))

    x = torch.ones(30, 64)
    assert not encode(Pair(model, guide), x).is_floating_point()
    run = run_of(Pair(model, guide), x)
    (block,) = report._latents({"codes": run}, tmp_path)
    assert block.html() == "<p>No plane of codes and no walks where latents are discrete: codes.</p>"
    assert len(report_samples.made({"codes": run}, tmp_path)) == 2 and not (tmp_path / "walks.png").exists()


def test_levels_of_latents_have_a_plane_and_walks(tmp_path):
    torch.manual_seed(0)
    x = torch.rand(60, 1, 8, 8).round()
    levels = conv_ladder((1, 8, 8), 3, [4, 4])
    vae = HierarchicalVAE(StandardNormal(3), levels, BernoulliLikelihood(ConvDecoder((4, 4, 4), [4], (1, 8, 8))))
    assert {name: z.shape[1:] for name, z in encode(vae, x).items()} == {"z2": (3,), "z1": (2, 4, 4)}
    runs = {"levels": run_of(vae, x)}
    assert [len(report._latents(runs, tmp_path)), len(report_samples.made(runs, tmp_path))] == [1, 3]
    assert {path.stem for path in tmp_path.iterdir()} == {"codes", "samples", "reconstructions", "walks"}
    (rest,) = report._diagnoses(report._diagnosed(runs), list(runs), tmp_path)
    assert "quick density: levels. Use pyro-lvm diagnose" in rest.html()


def test_diagnoses_of_what_is_quick_to_diagnose(tmp_path):
    linear = LinearGaussian(4, 2)
    x = linear.sample(120)
    data = SimpleNamespace(train=x, valid=x, test=x, transform=None)
    few = SimpleNamespace(vae=linear, data=SimpleNamespace(train=x[:50], transform=None))
    runs = {"a": SimpleNamespace(vae=linear, data=data), "b": few}
    table, notes, picture, rest = report._diagnoses(report._diagnosed(runs), list(runs), tmp_path)
    expected = diagnose(linear, x[torch.randperm(120, generator=torch.Generator().manual_seed(0))], progress=False)
    rows = {name: value.replace("\u00a0", " ") for name, value in Page(table.html()).tables[0][1:]}
    assert rows["rate"] == format_with_error(expected.rate, expected.standard_errors["rate"])
    assert "log N" in notes.html() and "data:image/png" in picture.html() and ": b." in rest.html()


def test_runs_are_named_by_what_tells_them_apart():
    assert list(name_runs([Path("runs/a"), Path("runs/b/")])) == ["a", "b"]
    assert list(name_runs([Path("x/a"), Path("y/a")])) == ["x/a", "y/a"]


def test_bad_input_is_one_line_and_leaves_nothing(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = trained / "standard", tmp_path / "other"
    assert "must hold a finished run" in refusal(capsys, "report {} --out {}", tmp_path / "none", tmp_path / "out")
    assert "runs" in refusal(capsys, "report --out {}", tmp_path / "out").lower()
    other.mkdir()
    (other / "notes.txt").touch()
    assert "must hold report.html to be replaced" in refusal(capsys, "report {} --out {}", run, other)
    assert "must be a folder; got a file" in refusal(capsys, "report {} --out {}", run, other / "notes.txt")
    below = other / "notes.txt" / "out"
    assert f"{below} cannot be written: Not a directory. Choose" in refusal(capsys, "report {} --out {}", run, below)
    inside = shutil.copytree(run, other / "run")
    (other / "report.html").touch()
    assert "is or holds a run and would be replaced" in refusal(capsys, "report {} --out {}", inside, other)
    before = sorted(run.iterdir())
    main(f"train --data.seed 5 --out {tmp_path / 'foreign'} {SMALL}".split())
    assert "data_id must be the same everywhere" in refusal(
        capsys, "report {} {} --out {} --evaluate.num_particles 7", run, tmp_path / "foreign", tmp_path / "out"
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
