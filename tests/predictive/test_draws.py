"""Sampling, encoding, decoding and reconstructing with any pair."""

from hierarchies import DIMS, LinearHierarchy, X
from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import decode, encode, reconstruct, sample_prior
from inference.predictive.draws import sample_latents
from pyro_lvm import (
    MLP,
    VAE,
    BernoulliLikelihood,
    FlowEncoder,
    GaussianLikelihood,
    NormalEncoder,
    Pair,
    StandardNormal,
    TwoStageVAE,
    WithPrior,
    check_pair,
    iaf,
)


def test_prior_samples_have_the_moments_of_the_model(oracle):
    draws = sample_prior(oracle, torch.zeros(40000, 5).double(), seed=0)
    covariance = oracle.weight @ oracle.weight.T + oracle.noise.diag()
    error = covariance.diag().sqrt() / 200
    assert ((draws.mean(0) - oracle.offset).abs() < 5 * error).all()
    assert (torch.cov(draws.T) - covariance).abs().max() < 6 * covariance.diag().max() * (2 / 40000) ** 0.5
    means = sample_prior(oracle, torch.zeros(4, 5).double(), seed=0, means=True)
    assert torch.linalg.matrix_rank(means - oracle.offset) == 2


def test_codes_are_draws_or_means_of_the_guide(oracle):
    x = oracle.sample(20000)
    posterior = oracle.posterior(x)
    torch.testing.assert_close(encode(oracle, x, means=True), posterior.mean)
    residual = encode(oracle, x, seed=1) - posterior.mean
    assert (torch.cov(residual.T) - oracle.covariance).abs().max() < 6 * oracle.covariance.max() * (2 / 20000) ** 0.5


def test_decoding_gives_the_mean_or_draws(oracle):
    x, z = oracle.sample(20000), torch.tensor([0.5, -1.0]).double().expand(20000, 2)
    loc = z @ oracle.weight.T + oracle.offset
    torch.testing.assert_close(decode(oracle, z, x), loc)
    draws = decode(oracle, z, x, draws=True, seed=0)
    assert ((draws.var(0) / oracle.noise - 1).abs() < 6 * (2 / 20000) ** 0.5).all()
    assert torch.equal(reconstruct(oracle, x, seed=3), decode(oracle, encode(oracle, x, seed=3), x))


def test_draws_leave_modes_and_random_state_alone():
    vae = VAE(StandardNormal(2), BernoulliLikelihood(MLP(2, [4], 3)), NormalEncoder(MLP(3, [4], 4)))
    x = torch.ones(4, 3)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = sample_prior(vae, x, seed=1)
    assert torch.equal(first, sample_prior(vae, x, seed=1)) and set(first.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(torch.get_rng_state(), state) and vae.training
    assert not reconstruct(vae, x).requires_grad


def test_several_latents_come_and_go_by_name():
    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(torch.zeros(len(x)), 1.0))
            b = pyro.sample("b", dist.Normal(a, 1.0))
            pyro.sample("x", dist.Normal(a + b, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(x / 2, 1.0))
            pyro.sample("b", dist.Normal(a + 1, 1.0))

    pair, x = Pair(model, guide), torch.tensor([2.0, 4.0])
    codes = encode(pair, x, means=True)
    assert codes["a"].tolist() == [1.0, 2.0] and codes["b"].tolist() == [2.0, 3.0]
    assert decode(pair, codes, x).tolist() == [3.0, 5.0]
    with pytest.raises(ValueError, match="latents must hold the sites"):
        decode(pair, {"a": x}, x)


def test_a_flow_has_no_mean():
    vae = VAE(StandardNormal(2), BernoulliLikelihood(MLP(2, [4], 3)), FlowEncoder(MLP(3, [4], 6), iaf(2, 2, hidden=(4,))))
    assert encode(vae, torch.ones(4, 3)).shape == (4, 2)
    with pytest.raises(NotImplementedError, match="site 'z' has a FlowDistribution.*no mean"):
        encode(vae, torch.ones(4, 3), means=True)


def test_draws_do_not_move_batch_norm_and_take_one_row():
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    vae = VAE(StandardNormal(2), BernoulliLikelihood(MLP(2, [4], 3)), NormalEncoder(network))
    before = network[1].running_mean.clone()
    assert encode(vae, torch.ones(1, 3)).shape == (1, 2)
    assert torch.equal(network[1].running_mean, before) and network[1].training


def test_a_template_need_not_be_in_the_support():
    vae = VAE(StandardNormal(2), BernoulliLikelihood(MLP(2, [4], 3)), NormalEncoder(MLP(3, [4], 4)))
    assert sample_prior(vae, torch.full((2, 3), 7.0)).shape == (2, 3)


def test_latents_of_the_prior_are_those_that_samples_come_from():
    oracle = LinearGaussian()
    z = sample_latents(oracle, oracle.sample(20000), seed=0)
    assert z.shape == (20000, 2) and (z.mean(0).abs() < 5 / 20000**0.5).all()
    assert (torch.cov(z.T) - torch.eye(2)).abs().max() < 6 * (2 / 20000) ** 0.5


def test_levels_are_held_one_by_one():
    """With the upper levels held, x has its conditional mean and covariance."""
    oracle, N = LinearHierarchy(DIMS[3]), 20000
    x = oracle.sample(N)
    sizes = dict(zip(("z3", "z2", "z1"), oracle.dims, strict=True))
    target = oracle.num_latents + torch.arange(X)
    for count in (1, 2, 3):
        held = {name: torch.full((N, D), 0.7).double() for name, D in list(sizes.items())[:count]}
        given = torch.arange(sum(sizes[name] for name in held))
        gain, offset, covariance = oracle.conditional(target, given)
        draws = sample_prior(oracle.vae, x, held=held, seed=count)
        error = (covariance.diag() / N).sqrt()
        assert ((draws.mean(0) - (gain @ torch.full((len(given),), 0.7).double() + offset)).abs() < 5 * error).all()
        assert (torch.cov(draws.T) - covariance).abs().max() < 6 * covariance.diag().max() * (2 / N) ** 0.5
    with pytest.raises(ValueError, match=r"held must contain only sites of the model, \('z3', 'z2', 'z1', 'x'\); got \('z4',\)"):
        sample_prior(oracle.vae, x[:2], held={"z4": x[:2]})


def small_vae(D, likelihood):
    return VAE(StandardNormal(2), likelihood(MLP(2, [4], D)), NormalEncoder(MLP(D, [4], 4)))


def small_pair():
    vae = small_vae(3, BernoulliLikelihood)
    return Pair(vae.model, vae.guide)


@pytest.mark.parametrize(
    ("pair", "variant"),
    [
        (small_vae(3, BernoulliLikelihood), lambda vae: vae.with_prior(StandardNormal(2))),
        (small_vae(3, BernoulliLikelihood), lambda vae: vae.with_prior(StandardNormal(2)).with_prior(StandardNormal(2))),
        (small_vae(3, BernoulliLikelihood), lambda vae: TwoStageVAE(vae, small_vae(2, GaussianLikelihood))),
        (small_pair(), lambda pair: pair.with_prior(StandardNormal(2), site="z")),
        (small_pair(), lambda pair: WithPrior(pair, StandardNormal(2), site="z")),
    ],
)
def test_a_pair_with_another_prior_draws_by_number_if_the_one_before_does(pair, variant):
    with pytest.raises(ValueError, match="the pair must have been run on data before"):
        sample_prior(variant(pair), 7)
    check_pair(pair, torch.zeros(5, 3))
    other = variant(pair)
    assert torch.equal(sample_prior(other, 7, seed=0), sample_prior(variant(pair), torch.zeros(7, 3), seed=0))
