"""Scores with products in bfloat16 against full precision, on the same draws."""

from dataclasses import replace

from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import Evaluation, compare, evaluate
from inference.densities.broadcasting import choose_layout
from inference.densities.scope import scoring
from inference.scoring import importance
from inference.scoring.chunks import ChunkedDensity, Chunks
from inference.scoring.eager import Eager
from inference.scoring.scorer import Scorer
import pyro_lvm as lvm
from pyro_lvm import Pair

pytestmark = pytest.mark.filterwarnings("ignore:this processor has no instructions for bfloat16")


def make_vae(pixels: int = 100) -> lvm.VAE:
    """A VAE whose decoder answers strongly to z, so that rounding shows."""
    torch.manual_seed(0)
    decoder = lvm.MLP(10, [64, 64], pixels)
    for p in decoder.parameters():
        p.data.mul_(2)
    return lvm.VAE(lvm.StandardNormal(10), lvm.BernoulliLikelihood(decoder), lvm.NormalEncoder(lvm.MLP(pixels, [64], 20)))


@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
def test_bf16_stays_near_full_precision_and_says_how_near(compile):
    vae, x = make_vae(), torch.rand(40, 100).round()
    full = evaluate(vae, x, num_particles=600, proposal="guide", compile=False, progress=False)
    fast = evaluate(vae, x, num_particles=600, proposal="guide", compile=compile, precision="bf16", progress=False)
    difference = fast.log_px - full.log_px
    assert 0 < difference.abs().max() < 0.05
    few = [
        evaluate(vae, x[::5], num_particles=600, proposal="guide", precision=p, compile=False, progress=False).log_px
        for p in ("bf16", "full")
    ]
    few = few[0] - few[1]  # of eight of the forty, with draws of their own
    assert fast.rounding_bias == pytest.approx(float(few.mean()), abs=1e-5)
    assert fast.rounding_error == pytest.approx(float(few.abs().max()), abs=1e-5)
    assert "bf16" in repr(fast) and "bf16" not in repr(full)
    assert (full.precision, full.rounding_error) == ("full", 0.0)


def test_the_largest_weights_are_exact():
    vae, x = make_vae(), torch.rand(5, 100).round()
    with scoring(vae, x.device):
        eager = Eager(vae, choose_layout(vae, (x,)))
        got, wanted = (Scorer.eager(eager, Chunks(), precision).log_weights((x,), 160, 1) for precision in ("bf16", "full"))
    error = (got - wanted).abs()
    is_exact = error < 1e-4
    assert (is_exact.sum(0) >= 10).all() and not is_exact.all()
    top = got.topk(5, dim=0).indices
    assert is_exact.gather(0, top).all()


def test_the_other_weights_lose_the_mean_error_of_the_largest():
    """The weights of a datum are rounded much alike, so that this is most of the error of an estimate."""
    vae, x = make_vae(), torch.rand(50, 100).round()
    list(vae.encoder.parameters())[-1].data[10:] = -4  # log scales
    block = (x,), 800, 1
    with scoring(vae, x.device):
        eager = Eager(vae, choose_layout(vae, (x,)))
        got, wanted = (Scorer.eager(eager, Chunks(), precision).log_weights(*block) for precision in ("bf16", "full"))
        rounded = Scorer(eager.draws, ChunkedDensity(eager.density("bf16"), Chunks())).log_weights(*block)
    largest = rounded.topk(100, dim=0).indices
    uncorrected = rounded.scatter(0, largest, wanted.gather(0, largest))
    before, after = ((log_w.logsumexp(0) - wanted.logsumexp(0)).square().mean().sqrt() for log_w in (uncorrected, got))
    assert after < 0.5 * before


def test_data_of_no_mass_stay_without():
    """Where all log densities are minus infinity, no error can be told."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
            pyro.sample("x", dist.Bernoulli(logits=torch.where(x > 0, z, torch.inf)), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))

    score = evaluate(Pair(model, guide), torch.tensor([0.0, 1.0]), num_particles=50, precision="bf16", progress=False)
    assert score.log_px[0] == -torch.inf and score.log_px[1].isfinite()


def test_pairs_in_float64_are_left_alone():
    oracle = LinearGaussian()
    x = oracle.sample(9)
    fast = evaluate(oracle, x, num_particles=50, precision="bf16", progress=False)
    assert torch.equal(fast.log_px, evaluate(oracle, x, num_particles=50, progress=False).log_px)
    assert fast.rounding_error == 0


def test_tables_and_files_keep_the_precision(tmp_path):
    vae, x = make_vae(), torch.rand(20, 100).round()
    score = evaluate(vae, x, num_particles=100, precision="bf16", progress=False)
    score.to_netcdf(tmp_path / "score.nc")
    again = Evaluation.from_netcdf(tmp_path / "score.nc")
    assert (again.precision, again.rounding_bias, again.rounding_error) == (score.precision, score.rounding_bias, score.rounding_error)
    assert "fast: products in bfloat16" in str(compare({"fast": score, "full": replace(score, precision="full")}))


def test_files_of_earlier_versions_are_of_full_precision(tmp_path):
    from xarray import DataTree

    score = evaluate(make_vae(), torch.rand(4, 100).round(), num_particles=30, progress=False)
    tree = score.to_datatree()
    stats = tree["is_stats"].to_dataset()
    for name in ("precision", "rounding_bias", "rounding_error"):
        del stats.attrs[name]
    DataTree.from_dict({"/is_stats": stats}).to_netcdf(tmp_path / "old.nc", engine="h5netcdf")
    assert Evaluation.from_netcdf(tmp_path / "old.nc").precision == "full"


def test_bad_precision():
    with pytest.raises(ValueError, match="precision must be one of .*fp8"):
        evaluate(make_vae(), torch.rand(4, 100).round(), precision="fp8")


def test_a_processor_without_bfloat16_is_named(monkeypatch):
    monkeypatch.setattr(importance, "has_bfloat16", lambda device: False)
    with pytest.warns(UserWarning, match="no instructions for bfloat16"):
        evaluate(make_vae(), torch.ones(2, 100), num_particles=3, precision="bf16", progress=False)
