"""Proposals refined for each datum: right where the guide is not, the guide where that is better, and the same however it is computed."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
from scipy import stats
import torch

from inference import evaluate, log_weights
from inference.scoring.proposals.judging import Pilot, is_better
import pyro_lvm as lvm

SCALE = 0.5  # of the noise
QUIET = {"progress": False}


def linear(dim, *, spread=1.0, shift=0.0):
    """z ~ N(0, I), x|z ~ N(z, SCALE^2 I); the guide is the posterior, with other scales and shifted by its standard deviations."""
    variance = 1 / (1 + SCALE**-2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), dim), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, SCALE).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            scale = variance**0.5
            pyro.sample("z", dist.Normal(x * variance / SCALE**2 + shift * scale, spread * scale).to_event(1))

    return lvm.Pair(model, guide)


def linear_data(dim, size=40, dtype=torch.float32):
    return torch.randn(size, dim, generator=torch.Generator().manual_seed(4), dtype=torch.float64).mul((1 + SCALE**2) ** 0.5).to(dtype)


def linear_truth(x):
    return dist.Normal(0.0, (1 + SCALE**2) ** 0.5).log_prob(x.double()).sum(1)


def check_right(score, truth, share_outside=0.05):
    """All figures are within five standard errors, and nearly all within two."""
    errors = (score.log_px - truth).abs() / (score.mc_error + 1e-6)
    assert not score.is_unreliable.any()
    assert (errors < 5).all()
    assert (errors > 2).double().mean() <= share_outside + 3 * math.sqrt(share_outside / len(truth))


@pytest.mark.parametrize(
    ("dim", "spread", "shift"), [(1, 0.3, 0.0), (1, 3.0, 2.0), (4, 0.5, 0.0), (4, 0.3, 3.0), (4, 4.0, 0.0), (12, 0.4, 2.0)]
)
def test_a_bad_guide_does_no_harm(dim, spread, shift):
    x = linear_data(dim)
    score = evaluate(linear(dim, spread=spread, shift=shift), x, **QUIET)
    check_right(score, linear_truth(x))
    assert score.is_refined.all()
    assert score.ess.median() > 400
    by_guide = evaluate(linear(dim, spread=spread, shift=shift), x, proposal="guide", **QUIET)
    assert score.ess.median() > by_guide.ess.median()


def test_the_elbo_is_the_guides():
    x = linear_data(4, 300)
    pair = linear(4, spread=0.5)
    got, expected = (evaluate(pair, x, proposal=proposal, **QUIET) for proposal in ("auto", "guide"))
    error = (got.elbo - expected.elbo).std() / len(x) ** 0.5
    assert abs((got.elbo - expected.elbo).mean()) < 4 * error
    assert got.elbo.mean() < got.log_px.mean() - 0.2
    gap = got.log_px - got.normal_elbo  # the posterior is normal
    assert gap.abs().max() < 0.2
    assert expected.normal_elbo.isnan().all()


def test_an_exact_guide_is_kept():
    x = linear_data(3)
    score = evaluate(linear(3), x, **QUIET)
    assert score.is_refined.double().mean() < 0.2
    assert score.proposal.endswith("the guide")
    torch.testing.assert_close(score.log_px, linear_truth(x), rtol=0, atol=0.05)


def test_rounding_does_not_turn_an_exact_guide_away():
    nothing = torch.zeros(2, dtype=torch.float64)
    guide = Pilot(nothing - 1.6, nothing, nothing + 1, nothing - 1.6, nothing, nothing + 0.9)  # k-hat of mere rounding
    fitted = guide._replace(elbo=guide.elbo + torch.tensor([1e-7, 0.1]))
    assert is_better(guide, fitted, nothing).tolist() == [True, False]


def test_estimates_of_p_are_unbiased():
    """E[p-hat] = p, however few draws: the proposal is fitted with other draws than those of the figure."""
    x = linear_data(2, 4000, torch.float64)
    weights = log_weights(linear(2, spread=0.4, shift=1.0), x, num_particles=3, seed=5, proposal="refined")
    ratio = (weights.logsumexp(0) - math.log(3) - linear_truth(x)).exp()
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / len(x) ** 0.5


def test_positive_latents():
    """A gamma rate under Poisson counts has a negative binomial marginal."""
    shape, rate = 2.0, 0.5

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(torch.full((len(x),), shape), rate))
            pyro.sample("x", dist.Poisson(z[:, None]).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.LogNormal((x[:, 0] + 1).log() - 0.5, 0.1))

    x = torch.tensor(stats.nbinom.rvs(shape, rate / (1 + rate), size=40, random_state=1), dtype=torch.float32)[:, None]
    truth = torch.tensor(stats.nbinom.logpmf(x[:, 0].numpy(), shape, rate / (1 + rate)))
    check_right(evaluate(lvm.Pair(model, guide), x, **QUIET), truth)


def test_two_levels_and_an_enumerated_class():
    """c ~ Categorical, z1 ~ N(m_c, 1), z2 ~ N(z1, .5), x ~ N(z2, .3): a mixture of two normal densities."""
    means, weights = torch.tensor([-1.0, 2.0]), torch.tensor([0.3, 0.7])
    variance = 1.0 + 0.5**2 + 0.3**2

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(weights), infer={"enumerate": "parallel"})
            above = pyro.sample("z1", dist.Normal(means[c], 1.0))
            below = pyro.sample("z2", dist.Normal(above, 0.5))
            pyro.sample("x", dist.Normal(below[..., None], 0.3).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z1", dist.Normal(x[:, 0], 0.3))
            pyro.sample("z2", dist.Normal(x[:, 0], 0.1))

    x = torch.linspace(-3, 4, 30)[:, None]
    parts = [
        w.log() + dist.Normal(m, variance**0.5).log_prob(x[:, 0].double()) for m, w in zip(means.double(), weights.double(), strict=True)
    ]
    check_right(evaluate(lvm.Pair(model, guide), x, **QUIET), torch.stack(parts).logsumexp(0))


def two_modes():
    """x ~ N(z^2, .5): the posterior has a mode on either side, and the guide knows one of them."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.5))
            pyro.sample("x", dist.Normal((z**2)[:, None], 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0].clamp_min(0.25).sqrt(), 0.25 / x[:, 0].clamp_min(0.25).sqrt()))

    return lvm.Pair(model, guide)


def test_a_mode_that_the_guide_misses_is_found():
    x = torch.linspace(1.0, 6.0, 30)[:, None]
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    log_p = dist.Normal(0.0, 1.5).log_prob(grid) + dist.Normal(grid**2, 0.5).log_prob(x.double())  # [B, G]
    truth = (log_p.logsumexp(1) + math.log(24 / 200_000)).double()
    pair = two_modes()
    by_guide = evaluate(pair, x, proposal="guide", **QUIET)
    assert (truth - by_guide.log_px)[~by_guide.is_unreliable].mean() > 0.5  # half of the mass, and no word of it
    score = evaluate(pair, x, **QUIET)
    assert ((score.log_px - truth).abs() < 5 * score.mc_error + 0.01)[~score.is_unreliable].all()
    assert score.is_unreliable.double().mean() < 0.2


@pytest.mark.parametrize("proposal", ["auto", "refined"])
def test_figures_depend_on_the_seed_alone(proposal):
    x = linear_data(5, 300)
    pair = linear(5, spread=0.5, shift=0.5)
    first = evaluate(pair, x, num_particles=200, seed=3, proposal=proposal, **QUIET)
    again = evaluate(pair, x, num_particles=200, seed=3, proposal=proposal, chunk_size=130, **QUIET)
    torch.testing.assert_close(again.log_px, first.log_px, rtol=0, atol=1e-3)
    other = evaluate(pair, x, num_particles=200, seed=4, proposal=proposal, **QUIET)
    assert not torch.allclose(other.log_px, first.log_px, rtol=0, atol=1e-4)
    weights = log_weights(pair, x, num_particles=200, seed=3, proposal=proposal)
    torch.testing.assert_close(weights.logsumexp(0) - math.log(200), first.log_px, rtol=0, atol=1e-3)


def test_compiled_figures_are_the_same():
    torch.manual_seed(0)
    vae = lvm.VAE(
        lvm.GaussianMixturePrior(3, 4), lvm.BernoulliLikelihood(lvm.MLP(3, [8], 12)), lvm.NormalEncoder(lvm.MLP(12, [8], 6))
    ).double()
    x = torch.rand(300, 12, dtype=torch.float64).round()
    eager, compiled = (evaluate(vae, x, num_particles=200, proposal="refined", compile=c, **QUIET) for c in (False, True))
    torch.testing.assert_close(compiled.log_px, eager.log_px, rtol=0, atol=1e-6)
    torch.testing.assert_close(compiled.normal_elbo, eager.normal_elbo, rtol=0, atol=1e-4)


def test_flow_guides_and_flow_priors():
    torch.manual_seed(1)
    vae = lvm.VAE(
        lvm.FlowPrior(lvm.maf(2, transforms=2, hidden=[8])),
        lvm.BernoulliLikelihood(lvm.MLP(2, [8], 6)),
        lvm.FlowEncoder(lvm.MLP(6, [8], 8), lvm.iaf(2, 4, hidden=[8])),
    )
    x = torch.rand(20, 6).round()
    many = evaluate(vae, x, num_particles=20_000, proposal="guide", **QUIET)
    few = evaluate(vae, x, proposal="refined", **QUIET)
    assert ((few.log_px - many.log_px).abs() < 5 * (few.mc_error**2 + many.mc_error**2).sqrt() + 1e-3).all()


def test_few_draws_come_from_the_guide():
    score = evaluate(linear(2, spread=0.3), linear_data(2), num_particles=50, **QUIET)
    assert not score.is_refined.any()


def test_latents_that_cannot_be_refined_are_named():
    def program(x, observe=False):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(3)))
            if observe:
                pyro.sample("x", dist.Normal(c[:, None].float(), 1.0).to_event(1), obs=x)

    pair, x = lvm.Pair(lambda x: program(x, True), program), torch.zeros(5, 1)
    with pytest.raises(ValueError, match="latent 'c' is discrete and drawn"):
        evaluate(pair, x, proposal="refined", **QUIET)
    assert not evaluate(pair, x, **QUIET).is_refined.any()
    with pytest.raises(ValueError, match="proposal must be one of"):
        evaluate(pair, x, proposal="best", **QUIET)


def test_too_many_latents_are_left_to_the_guide():
    x = linear_data(4100, 2)
    assert not evaluate(linear(4100), x, num_particles=100, **QUIET).is_refined.any()
    with pytest.raises(ValueError, match="the latents have 4100 coordinates"):
        evaluate(linear(4100), x, num_particles=100, proposal="refined", **QUIET)


def test_the_record_says_what_the_draws_came_from(tmp_path):
    score = evaluate(linear(2, spread=0.3), linear_data(2), **QUIET)
    assert "proposal: refined for each datum" in repr(score)
    score.to_netcdf(tmp_path / "score.nc")
    kept = type(score).from_netcdf(tmp_path / "score.nc")
    assert torch.equal(kept.is_refined, score.is_refined)
    assert np.allclose(kept.normal_elbo, score.normal_elbo)
