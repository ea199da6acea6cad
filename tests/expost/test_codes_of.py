"""Codes that priors are fitted to."""

import math

from clouds import ring
from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import codes_of, encode
from pyro_lvm import Pair


def test_codes_are_draws_batch_by_batch():
    oracle = LinearGaussian()
    x = oracle.sample(6000)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    codes = codes_of(oracle, x, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    residual = codes - oracle.posterior(x).mean
    assert (torch.cov(residual.T) - oracle.covariance).abs().max() < 6 * oracle.covariance.max() * (2 / 6000) ** 0.5
    assert torch.equal(codes, codes_of(oracle, (x,), seed=1)) and not torch.equal(codes, codes_of(oracle, x, seed=2))
    assert torch.equal(codes_of(oracle, x, batch_size=6000, seed=1), encode(oracle, x, seed=1))
    assert torch.equal(codes_of(oracle, x, transform=lambda x: x + 1, seed=1), codes_of(oracle, x + 1, seed=1))


def test_no_more_than_a_batch_is_encoded_at_a_time():
    oracle, sizes = LinearGaussian(), set()
    codes = codes_of(Pair(oracle.model, lambda x: sizes.add(len(x)) or oracle.guide(x)), oracle.sample(70), batch_size=30)
    assert max(sizes) == 30 and codes.shape == (70, 2)


def test_several_latents_have_no_single_prior():
    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(torch.zeros(len(x)), 1.0))
            b = pyro.sample("b", dist.Normal(a, 1.0))
            pyro.sample("x", dist.Normal(b, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Normal(pyro.sample("a", dist.Normal(x, 1.0)), 1.0))

    with pytest.raises(ValueError, match=r"must have one latent site .* got \('a', 'b'\)"):
        codes_of(Pair(model, guide), torch.zeros(4))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda z: codes_of(LinearGaussian(), torch.zeros(4, 5).double(), batch_size=0),
            ValueError,
            "batch_size must be an integer of at least 1",
        ),
        (lambda z: codes_of(LinearGaussian(), torch.full((4, 5), math.nan)), ValueError, "must be finite"),
    ],
)
def test_errors_name_the_remedy(build, error, message):
    with pytest.raises(error, match=message):
        build(ring(100))
