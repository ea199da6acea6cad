"""Proposals refined at the edges of spaces of latents, of densities, and where a guide has missed modes in many dimensions."""

import math

import pyro
import pyro.distributions as dist
import pytest
from scipy import stats
import torch

from inference import evaluate
from inference.scoring.proposals.judging import Pilot, is_better
import pyro_lvm as lvm

QUIET = {"progress": False}
DTYPES = [torch.float32, torch.float64]


def check_known(score, truth):
    """Figures without a mark are right: within four standard errors, as those of few data; and no figure is NaN."""
    errors = (score.log_px - truth).abs() / (score.mc_error + 0.005)
    assert score.log_px.isfinite().all()
    assert (errors[~score.is_unreliable] < 4).all()


def latent_of(prior, likelihood, guide):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior(x))
            pyro.sample("x", likelihood(z).to_event(1), obs=x)

    def drawn(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", guide(x))

    return lvm.Pair(model, drawn)


def counts(offset, rate):
    """z ~ Gamma(.1, .1), x ~ Poisson(z): negative binomial; the posterior is Gamma(x + .1, 1.1)."""
    return latent_of(
        lambda x: dist.Gamma(x.new_full((len(x),), 0.1), 0.1),
        lambda z: dist.Poisson(z[..., None]),
        lambda x: dist.Gamma(x[:, 0] + offset, rate),
    )


def successes(offset):
    """z ~ Beta(.5, .5), x ~ Binomial(10, z): beta-binomial; the posterior is Beta(x + .5, 10.5 - x)."""
    return latent_of(
        lambda x: dist.Beta(x.new_full((len(x),), 0.5), 0.5),
        lambda z: dist.Binomial(10, z[..., None]),
        lambda x: dist.Beta(x[:, 0] + offset, 10 + offset - x[:, 0]),
    )


@pytest.mark.parametrize("proposal", ["auto", "refined"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("offset", "rate"), [(0.1, 1.1), (0.2, 1.0), (2.0, 1.0)])
def test_gamma_latents_of_small_shape(offset, rate, dtype, proposal):
    x = torch.tensor([0.0, 0, 1, 3, 0, 20], dtype=dtype)[:, None]
    score = evaluate(counts(offset, rate), x, proposal=proposal, **QUIET)
    check_known(score, torch.tensor(stats.nbinom.logpmf(x[:, 0].numpy(), 0.1, 0.1 / 1.1)))
    if proposal == "auto" and offset == 0.1:
        assert not score.is_refined.any()
        assert not score.is_unreliable.any()


@pytest.mark.parametrize("proposal", ["auto", "refined"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0.5, 1.0])
def test_beta_latents_of_small_shape(offset, dtype, proposal):
    x = torch.tensor([0.0, 1, 5, 10], dtype=dtype)[:, None]
    score = evaluate(successes(offset), x, proposal=proposal, **QUIET)
    check_known(score, torch.tensor(stats.betabinom.logpmf(x[:, 0].numpy(), 10, 0.5, 0.5)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("concentration", [0.08, 1.0])
def test_sparse_dirichlet_latents(concentration, dtype):
    """The data do not depend on z."""
    pair = latent_of(
        lambda x: dist.Dirichlet(x.new_full((len(x), 5), 0.1)),
        lambda z: dist.Normal(z[..., :1] * 0, 1.0),
        lambda x: dist.Dirichlet(x.new_full((len(x), 5), concentration)),
    )
    x = torch.linspace(-1, 1, 6, dtype=dtype)[:, None]
    check_known(evaluate(pair, x, **QUIET), dist.Normal(0.0, 1.0).log_prob(x.double()).sum(1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_mass_that_no_number_stands_for_is_marked(dtype):
    """A sixth or more of Beta(.05, .05) lies closer to one than any number below it."""
    pair = latent_of(
        lambda x: dist.Beta(x.new_full((len(x),), 0.05), 0.05),
        lambda z: dist.Normal(z[..., None] * 0, 1.0),
        lambda x: dist.Beta(x.new_full((len(x),), 0.5), 0.5),
    )
    assert evaluate(pair, torch.zeros(3, 1, dtype=dtype), proposal="refined", **QUIET).is_unreliable.all()


def test_a_guide_is_kept_despite_weights_of_zero():
    """x ~ Uniform(z - 1, z + 1), z ~ N(0, I): a fit by gradients knows nothing of the edges, and the guide does."""
    dim, generator = 10, torch.Generator().manual_seed(1)
    x = torch.randn(12, dim, generator=generator, dtype=torch.float64)
    pair = latent_of(
        lambda x: dist.Normal(torch.zeros_like(x), 1.0).to_event(1),
        lambda z: dist.Uniform(z - 1, z + 1),
        lambda x: dist.Uniform(x - 1.01, x + 1.01).to_event(1),
    )
    score = evaluate(pair, x, **QUIET)
    normal = dist.Normal(0.0, 1.0)
    check_known(score, ((normal.cdf(x + 1) - normal.cdf(x - 1)) / 2).log().sum(1))
    by_guide = evaluate(pair, x, proposal="guide", **QUIET)
    assert score.ess.median() > 0.8 * by_guide.ess.median()


def test_infinite_elbos_do_not_count():
    nothing = torch.zeros(4, dtype=torch.float64)
    guide = Pilot(nothing, nothing, nothing + 0.4, nothing - math.inf, nothing + math.nan, torch.tensor([0.1, 0.1, 0.6, 0.6]).double())
    fitted = guide._replace(ess_share=torch.tensor([0.4, 0.6, 0.05, 0.3]).double())
    assert is_better(guide, fitted, nothing).tolist() == [True, False, True, False]


def normal_mixture(weights, means, scales, noise, guide_loc, guide_scale):
    """z ~ sum_c w_c N(m_c, s_c^2 I), x ~ N(z, noise^2 I)."""
    prior = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(means, scales[:, None].expand_as(means)).to_event(1))

    def guide(x):
        return dist.Normal(guide_loc.expand_as(x), guide_scale).to_event(1)

    def truth(x):
        spread = (scales**2 + noise**2).sqrt()[:, None].expand_as(means)
        return (weights.log() + dist.Normal(means, spread).to_event(1).log_prob(x[:, None])).logsumexp(1)

    return latent_of(lambda x: prior.expand([len(x)]), lambda z: dist.Normal(z, noise), guide), truth


@pytest.mark.parametrize("dim", [9, 12])
def test_modes_of_the_prior_in_many_dimensions(dim):
    generator = torch.Generator().manual_seed(0)
    means = 3 * torch.randn(3, dim, generator=generator, dtype=torch.float64)
    weights, scales = torch.tensor([0.3, 0.3, 0.4]).double(), torch.full((3,), 0.3).double()
    pair, truth = normal_mixture(weights, means, scales, 5.0, means[0], 0.3)
    x = 1.5 * torch.randn(6, dim, generator=generator, dtype=torch.float64)
    by_guide = evaluate(pair, x, proposal="guide", **QUIET)
    assert (truth(x) - by_guide.log_px).mean() > 0.5  # two modes, missed
    check_known(evaluate(pair, x, **QUIET), truth(x))


@pytest.mark.parametrize("guide_scale", [0.01, 1.0])
def test_spike_and_slab(guide_scale):
    generator = torch.Generator().manual_seed(0)
    weights, scales = torch.tensor([0.5, 0.5]).double(), torch.tensor([0.01, 1.0]).double()
    nothing = torch.zeros(2, 30).double()
    pair, truth = normal_mixture(weights, nothing, scales, 10.0, nothing[0], guide_scale)
    x = 10 * torch.randn(6, 30, generator=generator, dtype=torch.float64)
    check_known(evaluate(pair, x, **QUIET), truth(x))
