"""Posteriors of labels and likelihoods of parts of the data, against closed forms."""

from labelled import V, conditional, data, log_px_given, semi_supervised
from oracles import two_modalities
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MultivariateNormal

from inference import class_posterior, conditional_log_prob, label_posterior
from pyro_lvm import Pair


def exact_posterior(vae, x):
    return (log_px_given(vae, x) + vae.labels.logits.detach().log_softmax(0)).softmax(1)


def test_the_posterior_of_a_summed_out_label():
    vae, (x, y) = semi_supervised(), data()
    found = label_posterior(vae, x, torch.full_like(y, -1), num_particles=20_000)
    exact = exact_posterior(vae, x)
    assert torch.allclose(found.probabilities.sum(1), torch.ones(len(x)).double())
    assert bool(((found.probabilities - exact).abs() < 5 * found.errors + 1e-6).all()) and float(found.errors.max()) < 0.1
    assert found.accuracy(exact.argmax(1))[0] > 0.9 and "p(y|x) of 12 data, 3 values" in repr(found)


def test_errors_of_a_posterior_hold():
    vae, (x, y) = semi_supervised(), data()
    exact, missing = exact_posterior(vae, x), torch.full_like(y, -1)
    found = [label_posterior(vae, x, missing, num_particles=1000, seed=seed) for seed in range(40)]
    z = torch.stack([(one.probabilities - exact) / one.errors for one in found])[:, ~found[0].is_unreliable]
    assert 0.8 < float(z.std()) < 1.35


def test_the_posterior_of_a_known_label_is_certain():
    vae, (x, y) = semi_supervised(), data()
    found = label_posterior(vae, x, y, num_particles=10)
    assert torch.equal(found.most_probable, y) and torch.allclose(found.probabilities.max(1).values, torch.ones(len(x)).double())
    with pytest.raises(ValueError, match="must have one value for each of 12 data; got 3"):
        found.accuracy([1, 2, 3])


def test_several_summed_out_latents_have_a_posterior_each_without_draws():
    table = torch.tensor([[0.7, 0.1, 0.2], [0.05, 0.55, 0.4]]).double()

    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Categorical(torch.tensor([0.4, 0.6]).double()), infer={"enumerate": "parallel"})
            b = pyro.sample("b", dist.Categorical(table[a]), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(1.0 * a - 0.5 * b, torch.tensor(1.0).double()), obs=x)

    x = torch.linspace(-2, 2, 5).double()
    a, b = torch.arange(2)[:, None], torch.arange(3)
    joint = torch.tensor([0.4, 0.6]).double().log()[:, None] + table.log() + dist.Normal(1.0 * a - 0.5 * b, 1.0).log_prob(x[:, None, None])
    pair = Pair(model, lambda x: None)
    for site, dim in (("a", 2), ("b", 1)):
        found = label_posterior(pair, x, site=site)
        assert torch.allclose(found.probabilities, joint.flatten(1).softmax(1).reshape(joint.shape).sum(dim)) and found.num_particles == 1
    with pytest.raises(ValueError, match="of which there are: a, b; got None"):
        label_posterior(pair, x)


def test_the_posterior_of_a_label_that_is_given_or_observed():
    x, y = data()
    vae, both = conditional(), semi_supervised()
    log_prior = torch.tensor([0.2, 0.5, 0.3]).log()
    found = class_posterior(vae, (x, y), num_labels=V, log_prior=log_prior, num_particles=4000, progress=False)
    exact = (log_px_given(vae, x) + log_prior).softmax(1)
    assert bool(((found.probabilities - exact).abs() < 5 * found.errors + 1e-6).all()) and float(found.errors.max()) < 0.05
    observed = class_posterior(both, (x, y), num_labels=V, num_particles=4000, progress=False)
    assert bool(((observed.probabilities - exact_posterior(both, x)).abs() < 5 * observed.errors + 1e-6).all())
    with pytest.raises(ValueError, match="log_prior must be left out"):
        class_posterior(both, (x, y), num_labels=V, log_prior=log_prior, num_particles=30, progress=False)
    with pytest.raises(ValueError, match="place must be"):
        class_posterior(vae, (x, y), num_labels=V, place=2)


def test_one_modality_given_the_other():
    pair, loc, covariance = two_modalities()
    torch.manual_seed(0)
    x = MultivariateNormal(loc, covariance).sample((20,))
    first, second = x[:, :2], x[:, 2:]
    seen, hidden = torch.ones(20, dtype=torch.bool), torch.zeros(20, dtype=torch.bool)
    found = conditional_log_prob(pair, (first, second, seen), (first, second, hidden), num_particles=2000, progress=False)
    marginal = MultivariateNormal(loc[2:], covariance[2:, 2:]).log_prob(second)
    exact = MultivariateNormal(loc, covariance).log_prob(x) - marginal
    assert bool(((found.log_prob - exact).abs() < 5 * found.mc_error + 1e-6).all()) and float(found.mc_error.max()) < 0.1
    assert "no bound" in repr(found)
    with pytest.raises(ValueError, match="given must observe a part of what data observe, 5 elements; it observes 5"):
        conditional_log_prob(pair, (first, second, seen), (first, second, seen), num_particles=30, progress=False)
