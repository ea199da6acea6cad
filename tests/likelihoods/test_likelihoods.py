"""Likelihoods against scipy, enumeration, quadrature and sampling; shapes, supports, float32 tails."""

import numpy as np
import pyro
from pyro import poutine
import pytest
from scipy import stats
import torch
from torch import nn

from pyro_lvm.likelihoods.binary import BernoulliLikelihood
from pyro_lvm.likelihoods.categorical import CategoricalLikelihood
from pyro_lvm.likelihoods.counts import NegativeBinomialLikelihood, PoissonLikelihood, ZeroInflatedNegativeBinomialLikelihood
from pyro_lvm.likelihoods.discretized_logistic import DiscretizedLogisticLikelihood
from pyro_lvm.likelihoods.real import GaussianLikelihood, StudentTLikelihood
from pyro_lvm.networks.conv import ConvDecoder
from pyro_lvm.networks.mlp import MLP

X = (3, 4)
PER_ELEMENT = torch.linspace(0.5, 3.0, 12, dtype=torch.float64).reshape(X)
# Each takes latents [*lead, 2]; a discrete one has all but 1e-12 of its mass on the values.
LIKELIHOODS = {
    "bernoulli": (BernoulliLikelihood, {}, X, range(2)),
    "categorical": (CategoricalLikelihood, {}, (*X, 5), range(5)),
    "logistic": (DiscretizedLogisticLikelihood, {}, (*X, 3), range(256)),
    "mixture": (DiscretizedLogisticLikelihood, {"num_components": 3, "num_levels": 17}, (*X, 9), range(17)),
    "poisson": (PoissonLikelihood, {}, X, range(200)),
    "negative_binomial": (NegativeBinomialLikelihood, {"dispersion": 0.5}, X, range(1000)),
    "negative_binomial_each": (NegativeBinomialLikelihood, {"dispersion": PER_ELEMENT}, X, range(4000)),
    "zero_inflated": (ZeroInflatedNegativeBinomialLikelihood, {"dispersion": 0.5, "gate": PER_ELEMENT / 4}, X, range(1000)),
    "gaussian": (GaussianLikelihood, {"scale": 0.1}, X, None),
    "gaussian_each": (GaussianLikelihood, {"scale": PER_ELEMENT, "learn_scale": True}, X, None),
    "student": (StudentTLikelihood, {"df": 3.0, "scale": 0.7}, X, None),
    "student_each": (StudentTLikelihood, {"df": PER_ELEMENT, "scale": PER_ELEMENT}, X, None),
}
DISCRETE = [name for name, (*_, values) in LIKELIHOODS.items() if values is not None]


def make(name):
    torch.manual_seed(0)
    kind, options, out_shape, values = LIKELIHOODS[name]
    likelihood = kind(MLP(2, [], out_shape), **options).double()
    return likelihood, None if values is None else torch.tensor(values, dtype=torch.float64)


def normals(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def scipy_log_prob(name, params, x):
    """Log probability of each element of x, written without our code."""
    if name == "bernoulli":
        return stats.bernoulli.logpmf(x, torch.sigmoid(params))
    if name == "categorical":
        return params.softmax(-1).gather(-1, x.long().unsqueeze(-1)).squeeze(-1).log()
    if name == "poisson":
        return stats.poisson.logpmf(x, params.exp())
    if name.startswith("negative_binomial"):
        r = torch.ones(X) / (0.5 if name == "negative_binomial" else PER_ELEMENT)
        return stats.nbinom.logpmf(x, r, r / (r + params.exp()))
    if name == "zero_inflated":
        r, gate = 2.0, PER_ELEMENT.numpy() / 4
        return np.log(gate * (x.numpy() == 0) + (1 - gate) * stats.nbinom.pmf(x, r, r / (r + params.exp())))
    if name.startswith("gaussian"):
        return stats.norm.logpdf(x, params, 0.1 if name == "gaussian" else PER_ELEMENT)
    if name.startswith("student"):
        df, scale = (3.0, 0.7) if name == "student" else (PER_ELEMENT, PER_ELEMENT)
        return stats.t.logpdf(x, df, params, scale)
    num_components, num_levels = (1, 256) if name == "logistic" else (3, 17)
    logits, loc, log_scale = params.unflatten(-1, (3, num_components)).unbind(-2)
    edges = (2 * x[..., None] + torch.tensor([-1.0, 1.0])) / (num_levels - 1) - 1
    edges[..., 0][x == 0], edges[..., 1][x == num_levels - 1] = -torch.inf, torch.inf
    loc, scale = loc.unsqueeze(-2), log_scale.exp().unsqueeze(-2)
    cdf = torch.as_tensor(stats.logistic.cdf(edges[..., None], loc, scale))
    return (logits.softmax(-1) * (cdf[..., 1, :] - cdf[..., 0, :])).sum(-1).log()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_log_prob_equals_scipy(name):
    likelihood, _ = make(name)
    z = normals(5, 2)
    params, p = likelihood.network(z).detach(), likelihood(z)
    x = p.sample()
    expected = torch.as_tensor(scipy_log_prob(name, params, x)).sum((-1, -2))
    torch.testing.assert_close(p.log_prob(x).detach(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_densities_of_networks_in_half_precision_are_computed_in_float32(name):
    likelihood, _ = make(name)
    z = normals(5, 2)
    params = likelihood.network(z).detach().half()
    likelihood.network.forward = lambda z: params.double()
    x = likelihood(z).sample().float()
    expected = likelihood(z).log_prob(x.double())
    likelihood.float().network.forward = lambda z: params
    torch.testing.assert_close(likelihood(z).log_prob(x), expected.float(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("lead", [(), (6,), (5, 6)], ids=str)
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_leading_dimensions_are_the_batch(name, lead):
    likelihood, _ = make(name)
    z = normals(*lead, 2)
    p = likelihood(z)
    x = p.sample()
    assert (p.batch_shape, p.event_shape, p.mean.shape) == (lead, X, lead + X)
    assert p.support.is_discrete is (name in DISCRETE)
    assert p.support.check(x).all()
    one_by_one = [likelihood(row).log_prob(v) for row, v in zip(z.reshape(-1, 2), x.reshape(-1, *X), strict=True)]
    torch.testing.assert_close(p.log_prob(x), torch.stack(one_by_one).reshape(lead), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_works_in_plates_with_particles(name):
    likelihood, _ = make(name)
    z = normals(3, 4, 2)
    x = likelihood(z[0]).sample()

    def model():
        with pyro.plate("particles", 3, dim=-2), pyro.plate("data", 4, dim=-1):
            pyro.sample("all", likelihood(z), obs=x)
            pyro.sample("shared", likelihood(z[0, :1]), obs=x)
            pyro.sample("drawn", likelihood(z[0, 0]))

    sites = poutine.trace(model).get_trace().nodes
    assert sites["drawn"]["value"].shape == (3, 4, *X)
    for site, latents in (("all", z), ("shared", z[0, 0].expand(3, 4, 2))):
        expected = likelihood(latents).log_prob(x)
        log_prob = sites[site]["fn"].log_prob(x)
        assert log_prob.shape == (3, 4)
        torch.testing.assert_close(log_prob, expected)


@pytest.mark.parametrize("name", [name for name in DISCRETE if name != "bernoulli"])
def test_integers_and_floats_are_the_same_data(name):
    likelihood, _ = make(name)
    p = likelihood(normals(6, 2))
    x = p.sample()
    for dtype in (torch.int64, torch.float32):
        torch.testing.assert_close(p.log_prob(x.to(dtype)), p.log_prob(x.double()), rtol=0, atol=0)


@pytest.mark.parametrize("name", DISCRETE)
def test_values_outside_the_support_are_refused(name):
    likelihood, _ = make(name)
    for outside in (0.5, -1.0):
        with pytest.raises(ValueError, match="support"):
            likelihood(normals(2)).log_prob(torch.full(X, outside, dtype=torch.float64))


@pytest.mark.parametrize("parameter", [-200.0, -30.0, 0.0, 30.0, 80.0])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_float32_gradients_are_finite_at_the_extremes(name, parameter):
    kind, options, out_shape, values = LIKELIHOODS[name]
    params = torch.full(out_shape, parameter).reshape(1, -1).requires_grad_()
    likelihood = kind(nn.Unflatten(-1, out_shape), **options).float()
    p = likelihood(params)
    for x in (0.0, 1.0, 1e6) if values is None or max(values) > 255 else (0.0, 1.0, max(values)):
        log_prob = p.log_prob(torch.full(X, float(x)))
        assert log_prob.isfinite().all()
        grads = torch.autograd.grad(log_prob.sum(), [params, *likelihood.parameters()], retain_graph=True)
        assert all(grad.isfinite().all() for grad in grads)


def test_log_scales_have_a_floor_that_costs_nothing():
    likelihood = DiscretizedLogisticLikelihood(nn.Identity())
    z = torch.tensor([[0.0, 100 / 127.5 - 1, -60.0]], requires_grad=True)
    log_prob = likelihood(z.unsqueeze(-2)).log_prob(torch.tensor([[100.0]]))
    assert -0.03 < log_prob < 0.0


@pytest.mark.parametrize("large", [1e3, 1e5, 1e7])
def test_float32_keeps_its_digits_near_the_gaussian_and_the_poisson(large):
    loc = torch.linspace(-2.0, 2.0, 9).unsqueeze(-1)
    student = StudentTLikelihood(nn.Identity(), df=large, learn_df=True)
    expected = torch.as_tensor(stats.t.logpdf(0.5, large, loc.double())).squeeze()
    log_prob = student(loc).log_prob(torch.full((9, 1), 0.5))
    torch.testing.assert_close(log_prob.double(), expected, rtol=0, atol=5e-6)

    counts = NegativeBinomialLikelihood(nn.Identity(), dispersion=1 / large)
    rate = loc.double().exp()
    expected = torch.as_tensor(stats.nbinom.logpmf(7, large, large / (large + rate))).squeeze()
    log_prob = counts(loc).log_prob(torch.full((9, 1), 7.0))
    torch.testing.assert_close(log_prob.double(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("dispersion", [1e-12, 1e12])
def test_gradients_are_finite_for_any_dispersion(dispersion):
    counts = NegativeBinomialLikelihood(nn.Identity(), dispersion=dispersion, learn_dispersion=True)
    log_prob = counts(torch.zeros(1, 2)).log_prob(torch.tensor([[0.0, 5.0]]))
    (grad,) = torch.autograd.grad(log_prob, list(counts.parameters()))
    assert log_prob.isfinite() and grad.isfinite()


def test_dispersion_is_the_variance_beyond_poisson():
    p = NegativeBinomialLikelihood(nn.Identity(), dispersion=0.25)(normals(6))
    torch.testing.assert_close(p.variance, p.mean + 0.25 * p.mean.square())


def test_scales_are_learned_only_when_asked():
    network = nn.Linear(2, 4)
    count = len(list(network.parameters()))
    assert len(list(GaussianLikelihood(network, scale=0.1).parameters())) == count
    learned = GaussianLikelihood(network, scale=torch.full((4,), 0.5), learn_scale=True)
    assert len(list(learned.parameters())) == count + 1

    x, loc = 3.0 * torch.randn(500, 4), learned.network.bias
    optimizer = torch.optim.LBFGS(learned.scale.parameters(), line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = -learned(torch.zeros(500, 2)).log_prob(x).mean()
        value.backward()
        return value

    optimizer.step(loss)
    torch.testing.assert_close(learned.scale.value, (x - loc).square().mean(0).sqrt(), rtol=1e-3, atol=0)


def test_image_likelihood_with_convolutions():
    likelihood = DiscretizedLogisticLikelihood(ConvDecoder(2, [4, 3], (3, 9, 8, 6)), num_components=2)
    p = likelihood(torch.randn(5, 7, 2))
    assert (p.batch_shape, p.event_shape) == ((5, 7), (3, 9, 8))


def test_grids_of_latents_are_one_latent_each():
    likelihood = BernoulliLikelihood(MLP((4, 2), [5], (3, 3)))
    p = likelihood(torch.randn(6, 7, 4, 2))
    assert (p.batch_shape, p.event_shape) == ((6, 7), (3, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GaussianLikelihood(nn.Identity(), scale=0.0), "scale must be positive and finite; got 0.0"),
        (lambda: StudentTLikelihood(nn.Identity(), df=torch.tensor([1.0, -2.0])), "df must be positive"),
        (
            lambda: GaussianLikelihood(nn.Identity(), scale=torch.ones(3))(torch.zeros(5, 4)),
            r"scale must have shape \[\*X\].*\(5, 4\); got \(3,\)",
        ),
        (
            lambda: DiscretizedLogisticLikelihood(nn.Identity(), num_components=2)(torch.zeros(5, 4)),
            r"must give \[\*lead, \*X, 6\].*got \(5, 4\)",
        ),
    ],
)
def test_errors_name_what_was_expected_and_got(call, message):
    with pytest.raises(ValueError, match=message):
        call()
