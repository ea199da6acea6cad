"""Figures that are bounds, that no draw supports, or that cannot be: marked or refused."""

from math import inf, log

import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import evaluate
from pyro_lvm import Pair

QUIET = {"progress": False}
CHANCES = torch.tensor([0.3, 0.7], dtype=torch.float64)


def mixture(x):
    """c ~ Categorical, z ~ Normal(4 c, 1), x ~ Normal(z, 1)."""
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(CHANCES))
        z = pyro.sample("z", dist.Normal(4.0 * c, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide_that_is_certain(x):
    c = (x > 2).long()
    with pyro.plate("data", len(x)):
        pyro.sample("c", dist.Delta(c))
        pyro.sample("z", dist.Normal((x + 4 * c) / 2, 0.5**0.5))


def test_a_guide_that_is_certain_of_one_of_two_latents_gives_a_bound(double):
    """With many draws of the other one: the bound is the part of the sum over c of the chosen c."""
    x = torch.tensor([0.1, 3.5, 2.2])
    joint = CHANCES.log() + dist.Normal(torch.tensor([0.0, 4.0]), 2**0.5).log_prob(x[:, None])
    score = evaluate(Pair(mixture, guide_that_is_certain), x, num_particles=100, **QUIET)
    assert score.is_bound and score.num_particles == 100 and str(score).startswith("log p(x) >= ")
    torch.testing.assert_close(score.log_px, joint.max(1).values, rtol=0, atol=1e-10)
    assert score.mc_error.isnan().all() and score.pareto_k.isnan().all() and (score.log_px < joint.logsumexp(1) - 1e-4).all()


@pytest.mark.parametrize("num_particles", [1, 50])
@pytest.mark.parametrize("has_rsample", [True, False])
def test_a_factor_in_the_guide_is_no_density(has_rsample, num_particles, double):
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
            pyro.factor("steering", 5 + z, has_rsample=has_rsample)

    x = torch.randn(4)
    score = evaluate(Pair(model, guide), x, num_particles=num_particles, **QUIET)
    torch.testing.assert_close(score.log_px, dist.Normal(0.0, 2**0.5).log_prob(x), rtol=0, atol=1e-10)


def coin(x):
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(CHANCES))
        pyro.sample("x", dist.Normal(4.0 * c, 1.0), obs=x)


def guide_of_coin(chance):
    """A guide that draws 1 with this chance: that of the posterior, or another one."""

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(torch.stack([1 - chance(x), chance(x)], -1)))

    return guide


def posterior(x):
    joint = CHANCES.log() + dist.Normal(torch.tensor([0.0, 4.0]).double(), 1.0).log_prob(x[:, None])
    return joint.softmax(1)[:, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3, 1e3])
def test_discrete_draws_that_are_all_alike_are_marked(shift, dtype):
    """Their weights are equal, except for rounding, and leave all other values out: no error shows that the figure is too low."""
    x = torch.tensor([2.0, 2.1], dtype=dtype) + shift
    score = evaluate(Pair(coin, guide_of_coin(lambda x: torch.full_like(x, 1e-12))), x, num_particles=500, **QUIET)
    assert (score.mc_error < 1e-5).all() and (score.pareto_k == inf).all()
    assert score.is_unreliable.all() and score.bad_k_share == 1


def test_equal_weights_of_draws_that_differ_are_not_marked(double):
    """The exact posterior of a datum between two components: every weight is p(x)."""
    x = torch.tensor([2.0, 2.1])
    score = evaluate(Pair(coin, guide_of_coin(posterior)), x, num_particles=500, **QUIET)
    exact = (CHANCES.log() + dist.Normal(torch.tensor([0.0, 4.0]), 1.0).log_prob(x[:, None])).logsumexp(1)
    torch.testing.assert_close(score.log_px, exact, rtol=0, atol=1e-10)
    assert not score.is_unreliable.any() and score.bad_k_share == 0


def test_equal_weights_of_continuous_draws_are_not_marked(oracle):
    score = evaluate(oracle, oracle.sample(3), num_particles=500, **QUIET)
    assert not score.is_unreliable.any()


@pytest.mark.parametrize("excess", [1e-6, 0.1])
def test_a_probability_above_one_is_refused(excess):
    """As of a factor in the model; rounding is no reason."""

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(0.5), obs=x)
            pyro.factor("term", torch.full((len(x),), log(2) + excess))

    pair, x = Pair(model, lambda x: None), torch.tensor([0.0, 1.0, 1.0])
    if excess < 1e-3:
        assert abs(evaluate(pair, x, **QUIET).mean) < 1e-5
        return
    with pytest.raises(ValueError, match=r"p\(x\) of discrete data must be at most 1; log p\(x\) is up to 0.1 for 3 of 3 data.*a factor"):
        evaluate(pair, x, **QUIET)


def test_a_density_above_one_is_none_of_that():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1e-3), obs=x)

    assert evaluate(Pair(model, lambda x: None), torch.zeros(2), **QUIET).mean > 5
