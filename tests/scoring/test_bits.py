"""Bits per dimension: what is counted as a dimension, and what is said beside them."""

from dataclasses import replace
from math import log

from evaluations import evaluation_of, lognormal
import pyro
from pyro import poutine
import pyro.distributions as dist
import pytest
import torch

from inference import compare, evaluate, load_data
from inference.scoring.evaluation import Evaluation
from inference.scripts.commands.evaluate_command import _bits
from pyro_lvm import MLP, VAE, GaussianLikelihood, NormalEncoder, Pair, StandardNormal
from pyro_lvm.sites import num_elements, sites_of

B = 6


def guide(*batch):
    with pyro.plate("data", len(batch[0])):
        pyro.sample("z", dist.Normal(batch[0].sum(-1) / 17, 0.3))


def bits(model, *batch):
    score = evaluate(Pair(model, guide), batch, num_particles=20, progress=False)
    return score, -float(score.log_px.sum()) / log(2)


def test_all_observed_sites_are_counted():
    x, y, label = torch.randn(B, 4), torch.randn(B, 3, 4), torch.arange(B) % 3

    def model(x, y, label):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("label", dist.Categorical(torch.ones(3)), obs=label)
            pyro.sample("x", dist.Normal(z[..., None].expand((*z.shape, 4)), 1.0).to_event(1), obs=x)
            pyro.sample("y", dist.Normal(z[..., None, None].expand((*z.shape, 3, 4)), 1.0).to_event(2), obs=y)

    score, total = bits(model, x, y, label)
    assert score.num_dims == 17 and isinstance(score.num_dims, int)
    assert score.bits_per_dim == pytest.approx(total / (B * 17), rel=1e-12)


def test_a_condition_is_not_counted_and_the_observed_argument_may_come_second():
    x, y = torch.randn(B, 4), torch.randn(B, 7)

    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            loc = x.sum(-1, keepdim=True) + z[..., None]
            pyro.sample("y", dist.Normal(loc.expand((*loc.shape[:-1], 7)), 1.0).to_event(1), obs=y)

    score, total = bits(model, x, y)
    assert score.num_dims == 7 and score.bits_per_dim == pytest.approx(total / (B * 7), rel=1e-12)


@pytest.mark.parametrize("kind", ["elements", "rows", "distribution"])
def test_masked_elements_are_not_counted(kind):
    x = torch.randn(B, 5)
    mask = torch.arange(5) <= torch.arange(B)[:, None]  # 1, 2, ..., 5 and 5 elements: 20 in all
    rows = torch.arange(B) < 4

    def model(x, mask, rows):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            fn = dist.Normal(z[..., None].expand((*z.shape, 5)), 1.0)
            if kind == "elements":
                pyro.sample("x", fn.mask(mask).to_event(1), obs=x)
            elif kind == "distribution":
                pyro.sample("x", fn.to_event(1).mask(rows), obs=x)
            else:
                with poutine.mask(mask=rows):
                    pyro.sample("x", fn.to_event(1), obs=x)

    score, total = bits(model, x, mask, rows)
    assert score.num_dims == 20 / B and score.bits_per_dim == pytest.approx(total / 20, rel=1e-12)


def test_elements_of_distributions_inside_others():
    mask = torch.rand(3, 4) > 0.5
    functions = {
        "scalar": (dist.Normal(0.0, 1.0).expand([3]), torch.ones(3)),
        "expanded": (dist.Normal(torch.zeros(4), 1.0).mask(mask[0]).to_event(1).expand([3]), mask[0].sum().expand(3)),
        "twice": (dist.Normal(torch.zeros(3, 4), 1.0).mask(mask).mask(mask[:1]).to_event(1), (mask & mask[:1]).sum(1)),
        "joint": (dist.MultivariateNormal(torch.zeros(3, 4), torch.eye(4)).mask(False), torch.zeros(3)),
        "flow": (dist.TransformedDistribution(dist.Normal(torch.zeros(3, 4), 1.0), [dist.transforms.ExpTransform()]).to_event(1), 4.0),
    }
    for name, (fn, expected) in functions.items():
        trace = poutine.trace(lambda fn=fn: pyro.sample("x", fn)).get_trace()
        torch.testing.assert_close(num_elements(sites_of(trace)["x"]), torch.as_tensor(expected).expand(3).long(), msg=name)


def test_bits_of_densities_in_the_unit_interval_say_so(tmp_path):
    torch.manual_seed(0)
    vae = VAE(StandardNormal(2), GaussianLikelihood(MLP(2, [8], 64)), NormalEncoder(MLP(64, [8], 4)))
    x = load_data("digits").test[:20]
    x = (x - x.min()) / (x.max() - x.min())
    scaled, raw = (evaluate(vae, data, num_particles=20, progress=False) for data in (x, 16 * x))
    note, own = "of densities of x in [0, 1]; add log2(L) for L gray levels", "of densities of x in its own units"
    assert scaled.is_unit_scaled and not raw.is_unit_scaled and scaled.bits_note == note and raw.bits_note == own
    assert _bits(scaled, "dimension").endswith(f" too high, {note}") and " bits per dimension, by about 0.0" in _bits(scaled, "dimension")
    assert _bits(raw, "dimension").endswith(f" too high, {own}")
    assert f"Bits {note}." in compare({"a": scaled}, unit="bits/dim").notes
    assert not any("log2(L)" in text for text in (*compare({"a": scaled}).notes, *compare({"a": raw}, unit="bits/dim").notes))
    scaled.to_netcdf(tmp_path / "scaled.nc")
    kept = Evaluation.from_netcdf(tmp_path / "scaled.nc")
    assert kept.is_unit_scaled is True and kept.num_dims == 64


def test_files_keep_fractions_of_dimensions_and_nothing_observed_has_no_bits(tmp_path):
    score = replace(evaluation_of(lognormal(30)), num_dims=20 / 6)
    score.to_netcdf(tmp_path / "score.nc")
    assert Evaluation.from_netcdf(tmp_path / "score.nc").num_dims == 20 / 6
    assert str(replace(score, num_dims=0).bits_per_dim) == "nan"
