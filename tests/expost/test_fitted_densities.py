"""What holds for every prior fitted after training, and models under one."""

import math

from clouds import ring
from oracles import LinearGaussian
import pyro.distributions as dist
import pytest
import torch

from inference import codes_of, evaluate, fit, fit_flow, fit_gaussian, fit_gaussian_mixture, sample_prior
from pyro_lvm import MLP, VAE, GaussianLikelihood, NormalEncoder, Pair, StandardNormal, spline


def share_on_ring(z):
    """Share within four standard deviations of the ring; of its own codes all but one in 16000."""
    return ((z.norm(dim=-1) - 3).abs() < 0.4).double().mean().item()


def test_codes_may_carry_gradients():
    codes = ring(60)
    for fitted in (fit_gaussian, lambda z: fit_gaussian_mixture(z, z), lambda z: fit_flow(z, z, epochs=1)):
        densities = [fitted(z)().log_prob(codes) for z in (codes, codes.clone().requires_grad_())]
        torch.testing.assert_close(*densities, rtol=0, atol=0)


def test_priors_have_the_dtype_of_the_codes_and_leave_the_random_state_alone():
    codes, flow = ring(60), spline(2, hidden=(8,))
    state = torch.get_rng_state()
    priors = fit_gaussian(codes), fit_gaussian_mixture(codes, codes), fit_flow(codes, codes, flow=flow, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    for prior in priors:
        assert prior().sample().dtype == prior().log_prob(codes).dtype == torch.float32


# Models refitted


class MismatchedPrior(LinearGaussian):
    """Data whose true prior is no standard normal, with the exact posterior under the true one as guide."""

    def __init__(self):
        super().__init__()
        self.loc = torch.tensor([2.0, -1.0]).double()
        self.factor = torch.tensor([[1.5, 0.0], [-0.9, 0.4]]).double()

    def sample(self, num_data):
        z = self.loc + torch.randn(num_data, 2, generator=self.generator).double() @ self.factor.T
        noise = torch.randn(num_data, len(self.offset), generator=self.generator).double()
        return z @ self.weight.T + self.offset + noise * self.noise.sqrt()

    def log_px(self, x):
        spread = self.weight @ self.factor
        covariance = spread @ spread.T + self.noise.diag()
        return torch.distributions.MultivariateNormal(self.loc @ self.weight.T + self.offset, covariance).log_prob(x)

    def posterior(self, x):
        prior_precision = torch.cholesky_inverse(self.factor)
        precision = prior_precision + self.weight.T @ (self.weight / self.noise[:, None])
        shift = (x - self.offset) / self.noise @ self.weight + prior_precision @ self.loc
        return dist.MultivariateNormal(torch.linalg.solve(precision, shift.T).T, precision_matrix=precision)


def test_gaussian_of_the_codes_recovers_the_marginal():
    oracle = MismatchedPrior()
    train, test = oracle.sample(20000), oracle.sample(400)
    pair, exact = Pair(oracle.model, oracle.guide), oracle.log_px(test)
    before = evaluate(pair, test, num_particles=50, progress=False)
    refitted = evaluate(pair.with_prior(fit_gaussian(codes_of(pair, train)), site="z"), test, num_particles=50, progress=False)
    assert exact.mean() - before.mean > 0.5
    difference = refitted.log_px - exact
    # Five numbers fitted to N codes cost 5 / 2N nats on average, and single data sqrt(5 / N) either way.
    assert abs(difference.mean()) < 5 / 40000 + 5 * difference.std() / 20 < 0.01
    assert difference.abs().max() < 10 * (5 / 20000) ** 0.5


@torch.no_grad()
def test_draws_lie_on_a_ring_of_codes():
    codes, valid = ring(1500), ring(500, seed=1)
    assert share_on_ring(valid) > 0.99
    normal = share_on_ring(fit_gaussian(codes)().sample((4000,)))
    assert normal < 0.3
    assert share_on_ring(fit_gaussian_mixture(codes, valid)().sample((4000,))) > 0.95
    flow = fit_flow(codes, valid, flow=spline(2, transforms=2, hidden=(32, 32)), epochs=8, learning_rate=0.01)
    assert share_on_ring(flow().sample((4000,))) > 0.85

    torch.manual_seed(0)
    likelihood = GaussianLikelihood(MLP(2, [64], 2), learn_scale=True)
    second = VAE(StandardNormal(2), likelihood, NormalEncoder(MLP(2, [64], 4)))
    fit(second, codes, valid=valid, epochs=30, batch_size=150, learning_rate=0.01, warmup_epochs=10, progress=False)
    # A VAE of normal parts bends the plane around the hole, and smears.
    assert share_on_ring(sample_prior(second, codes, seed=0)) > 1.5 * normal


# Bad input


FITS = {
    "gaussian": fit_gaussian,
    "mixture": fit_gaussian_mixture,
    "mixture, held out": lambda codes: fit_gaussian_mixture(ring(100).to(codes), codes),
    "flow": lambda codes: fit_flow(codes, ring(9)),
    "flow, held out": lambda codes: fit_flow(ring(100).to(codes), codes),
}
BAD = {
    "one feature": (torch.zeros(9), ValueError, r"must have shape \[N, .*\]; got \(9,\)"),
    "a grid": (torch.zeros(9, 2, 3), ValueError, r"got \(9, 2, 3\)\. .* codes.flatten\(1\)"),
    "none": (torch.zeros(0, 2), ValueError, r"got \(0, 2\)"),
    "nan": (torch.cat([ring(9), torch.full((2, 2), math.nan)]), ValueError, "must be finite; 2 of 11 hold NaN"),
    "whole numbers": (torch.ones(9, 2).long(), TypeError, "must be floating point; got torch.int64"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", FITS)
def test_bad_codes_are_refused(name, bad):
    codes, error, message = BAD[bad]
    with pytest.raises(error, match=message):
        FITS[name](codes)
