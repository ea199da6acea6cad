"""Guides that know the density of their own draws only, as those of planar flows do, whose maps have no inverse."""

from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
from pyro.distributions.transforms import planar
import pytest
import torch

from inference import IWAE, STL, DReG, calibrate, diagnose, evaluate
import pyro_lvm as lvm


@pytest.fixture
def pair():
    """A linear normal model, and its posterior made a little wider, shifted and bent."""
    oracle = LinearGaussian()
    torch.manual_seed(0)
    bend = planar(2).double()

    def guide(x):
        pyro.module("bend", bend)
        exact = oracle.posterior(x)
        with pyro.plate("data", len(x)):
            base = dist.MultivariateNormal(exact.mean, scale_tril=1.4 * exact.scale_tril)
            pyro.sample("z", dist.TransformedDistribution(base, [bend]))

    return lvm.Pair(oracle.model, guide), oracle


def test_their_models_are_scored_and_trained(pair):
    pair, oracle = pair
    x = oracle.sample(8)
    for options in {"num_particles": 4000}, {"proposal": "guide", "num_particles": 200}:
        score = evaluate(pair, x, progress=False, **options)
        assert ((score.log_px - oracle.log_px(x)).abs() < 5 * score.mc_error).all()
    error = 5 * score.mc_error.square().sum().sqrt()  # of 200 draws, where IWAE has 4000
    assert -IWAE(4000).loss(pair.model, pair.guide, x) == pytest.approx(oracle.log_px(x).sum().item(), abs=error.item())
    assert not calibrate(pair, x, num_data=200).is_calibrated


@pytest.mark.parametrize("use", [STL(2).loss, DReG(2).loss, None], ids=["STL", "DReG", "diagnose"])
def test_what_needs_their_density_at_other_values_is_refused(pair, use):
    pair, oracle = pair
    with pytest.raises(ValueError, match="'z' is drawn by a map without an inverse, as a planar flow is"):
        use(pair.model, pair.guide, oracle.sample(8)) if use else diagnose(pair, oracle.sample(100), progress=False)
