"""Sections of a report for latents of every kind."""

from types import SimpleNamespace

from oracles import LinearGaussian
from pages import Page
import pyro
import pyro.distributions as dist
import torch

from inference import diagnose, evaluate
from inference.data.load import Data
from inference.diagnostics.usage import latent_use
from inference.formatting import format_with_error
from inference.predictive.draws import encode
from inference.report import latents
from inference.report import samples as report_samples
from inference.report.calibration import calibration_blocks
from inference.report.plots.reliability import draw_reliability
from inference.runs.kinds import REPORT
from pyro_lvm import BernoulliLikelihood, ConvDecoder, HierarchicalVAE, Pair, StandardNormal, conv_ladder


def run_of(vae: object, x: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(pair=vae, data=Data("rows", "", x, x, x), has_means=True)


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
    (block,) = latents.latent_space({"codes": run}, tmp_path)
    assert block.html() == "<p>Discrete latents have no plane of codes and no walks: codes.</p>"
    assert len(report_samples.made({"codes": run}, tmp_path)) == 2 and not (tmp_path / "walks.png").exists()


def test_guides_are_calibrated_or_it_is_said_why_they_cannot_be(tmp_path):
    linear = LinearGaussian(4, 2)

    def reads(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(x.sum() + z @ linear.weight.T, 1.0).to_event(1), obs=x)

    x = linear.sample(10)
    runs = {"exact": run_of(linear, x), "reading": run_of(Pair(reads, linear.guide), x)}
    _, notes, picture = calibration_blocks(runs, tmp_path)
    assert "exact: No departure from the posterior" in notes.html() and "reading cannot be calibrated: " in notes.html()
    assert "data:image/png" in picture.html() and REPORT.names.fullmatch("calibration-1.png")


def test_levels_of_latents_have_a_plane_and_walks(tmp_path):
    torch.manual_seed(0)
    x = torch.rand(60, 1, 8, 8).round()
    levels = conv_ladder((1, 8, 8), 3, [4, 4])
    vae = HierarchicalVAE(StandardNormal(3), levels, BernoulliLikelihood(ConvDecoder((4, 4, 4), [4], (1, 8, 8))))
    assert {name: z.shape[1:] for name, z in encode(vae, x).items()} == {"z2": (3,), "z1": (2, 4, 4)}
    runs = {"levels": run_of(vae, x)}
    assert [len(latents.latent_space(runs, tmp_path)), len(report_samples.made(runs, tmp_path))] == [1, 3]
    assert {path.stem for path in tmp_path.iterdir()} == {"codes", "samples", "reconstructions", "walks"}
    assert latents.used(runs, latents.diagnosed(runs)) == {}, "60 data are too few"
    (rest,) = latents.diagnosis_blocks({}, {}, list(runs), tmp_path)
    assert "depends on a condition: levels. Use pyro-lvm diagnose" in rest.html()
    table, notes, picture, _ = latents.diagnosis_blocks({}, {"levels": latent_use(vae, x)}, list(runs), tmp_path)
    assert {row[0] for row in Page(table.html()).tables[0][1:]} == {
        f"{figure}: z{n}" for figure in ("rate", "active units") for n in (1, 2)
    }
    assert "term of the rate" in notes.html() and "data:image/png" in picture.html()


def test_diagnoses_of_what_is_quick_to_diagnose(tmp_path):
    linear = LinearGaussian(4, 2)
    x = linear.sample(120)
    runs = {"a": run_of(linear, x), "b": run_of(linear, x[:50])}
    diagnoses = latents.diagnosed(runs)
    uses = latents.used(runs, diagnoses)
    assert uses == diagnoses
    table, notes, picture, rest = latents.diagnosis_blocks(diagnoses, uses, list(runs), tmp_path)
    expected = diagnose(linear, x[torch.randperm(120, generator=torch.Generator().manual_seed(0))], progress=False)
    rows = {name: value.replace("\u00a0", " ") for name, value in Page(table.html()).tables[0][1:]}
    assert rows["rate"] == format_with_error(expected.rate, expected.standard_errors["rate"])
    assert "log N" in notes.html() and "data:image/png" in picture.html() and ": b." in rest.html()
    assert "near zero is a good fit, not an unused unit" in picture.html() and "unused" in picture.html()
    assert not any("_" in name for name in rows) and rows["active units"] == "2"


def test_reliability_of_one_datum_is_drawn(tmp_path):
    score = evaluate(LinearGaussian(), torch.ones(1, 5).double(), num_particles=100, proposal="refined", progress=False)
    draw_reliability({"one": score}, tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").stat().st_size > 0
