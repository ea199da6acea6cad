"""Priors fitted after training: against scikit-learn, closed forms and autograd, and on codes that the standard normal misses."""

import math

from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
import pytest
from sklearn.mixture import GaussianMixture
import torch
from torch import nn

from inference import codes_of, encode, evaluate, fit, fit_flow, fit_gaussian, fit_gaussian_mixture, sample_prior
from inference.expost import flow as flow_fits
from pyro_lvm import MLP, VAE, GaussianLikelihood, NormalEncoder, Pair, StandardNormal, TwoStageVAE, maf, spline

STRETCH, SHIFT = torch.tensor([1e3, 1e-2]).double(), torch.tensor([-5e3, 0.3]).double()


def clusters(num_codes, seed=0):
    """Three well separated normal clouds of different covariances."""
    torch.manual_seed(seed)
    center = torch.tensor([[-6.0, 0.0], [6.0, 0.0], [0.0, 8.0]]).double()
    shape = torch.tensor([[[1.0, 0.0], [0.8, 0.3]], [[0.5, 0.0], [0.0, 0.5]], [[1.0, 0.0], [-0.9, 0.2]]]).double()
    which = torch.randint(3, (num_codes,))
    return center[which] + (shape[which] @ torch.randn(num_codes, 2, 1).double()).squeeze(-1)


def ring(num_codes, seed=0):
    torch.manual_seed(seed)
    angle, radius = 2 * math.pi * torch.rand(num_codes), 3 + 0.1 * torch.randn(num_codes)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


def share_on_ring(z):
    """Share within four standard deviations of the ring; of its own codes all but one in 16000."""
    return ((z.norm(dim=-1) - 3).abs() < 0.4).double().mean().item()


# Codes


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
    assert sizes == {30, 10} and codes.shape == (70, 2)


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


# Mixtures


@torch.no_grad()
@pytest.mark.parametrize(("diagonal", "kind"), [(False, "full"), (True, "diag")])
def test_mixture_is_scikit_learns_whatever_the_units(diagonal, kind):
    codes = clusters(600)
    loc, scale = codes.mean(0), codes.std(0, correction=0)
    oracle = GaussianMixture(3, covariance_type=kind, max_iter=1000, random_state=0).fit(((codes - loc) / scale).numpy())
    prior = fit_gaussian_mixture(codes, num_components=3, diagonal=diagonal)
    z = 5 * torch.randn(4, 50, 2).double()  # [K, B, D]
    standardized = ((z - loc) / scale).reshape(-1, 2).numpy()
    expected = torch.from_numpy(oracle.score_samples(standardized)).reshape(4, 50) - scale.log().sum()
    assert prior().log_prob(z).dtype == torch.float64
    torch.testing.assert_close(prior().log_prob(z), expected, rtol=1e-10, atol=1e-10)

    stretched = fit_gaussian_mixture(SHIFT + STRETCH * codes, num_components=3, diagonal=diagonal)
    torch.testing.assert_close(stretched().log_prob(SHIFT + STRETCH * z), expected - STRETCH.log().sum(), rtol=1e-7, atol=1e-7)


@torch.no_grad()
@pytest.mark.parametrize("diagonal", [False, True])
def test_fitted_mixture_is_a_density_with_the_moments_of_the_codes(diagonal):
    codes = clusters(600)
    p = fit_gaussian_mixture(codes, num_components=3, diagonal=diagonal)()
    axis = torch.linspace(-16, 16, 641).double()
    z = torch.cartesian_prod(axis, axis)
    assert p.log_prob(z).exp().sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-4)
    draws = p.sample((40000,))
    # Maximum likelihood keeps the codes' mean and covariance, up to scikit-learn's regularization of 1e-6.
    torch.testing.assert_close(p.mean, codes.mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(p.variance, codes.var(0, correction=0), rtol=1e-3, atol=1e-3)
    assert ((draws.mean(0) - p.mean).abs() < 5 * (p.variance / 40000).sqrt()).all()
    for drawn, expected in (((draws - p.mean) ** 2, p.variance), ((draws - p.mean).prod(-1), torch.cov(codes.T, correction=0)[0, 1])):
        assert ((drawn.mean(0) - expected).abs() < 5 * drawn.std(0) / 200).all()


@pytest.mark.parametrize("valid", [None, clusters(600, seed=1)], ids=["bic", "held-out"])
def test_the_true_number_of_components_is_chosen(valid):
    prior = fit_gaussian_mixture(clusters(600), valid, num_components=(1, 2, 3, 4, 6, 12))
    assert len(prior.logits) == 3
    assert torch.softmax(prior.logits, 0).detach() == pytest.approx(1 / 3, abs=5 * (2 / 9 / 600) ** 0.5)


def test_validation_codes_have_the_last_word():
    broad = fit_gaussian(clusters(600))().sample((600,))
    assert len(fit_gaussian_mixture(clusters(600), broad, num_components=(1, 3)).logits) == 1


def test_candidates_are_as_many_as_the_codes_bear():
    assert len(fit_gaussian_mixture(clusters(600)).logits) == 5  # of 1, 2, 5, ...: no 3, which 2 cannot stand for
    assert len(fit_gaussian_mixture(clusters(600)[:5]).logits) == 1
    assert len(fit_gaussian_mixture(clusters(600), num_components=7).logits) == 7


def test_gaussian_has_the_closed_form():
    codes = SHIFT + STRETCH * clusters(100)
    expected = torch.distributions.MultivariateNormal(codes.mean(0), torch.cov(codes.T, correction=0))
    torch.testing.assert_close(fit_gaussian(codes)().log_prob(codes), expected.log_prob(codes), rtol=1e-10, atol=1e-10)


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


# Flows


@pytest.mark.parametrize("constructor", [maf, spline])
def test_flow_density_counts_the_standardization(constructor):
    codes = SHIFT + STRETCH * clusters(200)
    prior = fit_flow(codes, codes, flow=constructor(2, hidden=(8,)), epochs=3, learning_rate=0.01)
    transform = prior().flow.transform
    jacobian = torch.func.vmap(torch.func.jacrev(transform))(codes)  # [N, D, D]
    base = torch.distributions.Normal(0.0, 1.0).log_prob(transform(codes)).sum(-1)
    torch.testing.assert_close(prior().log_prob(codes), base + torch.linalg.slogdet(jacobian)[1], rtol=1e-10, atol=1e-10)
    assert (transform(codes).std(0) - 1).abs().max() < 0.5


@pytest.mark.parametrize("constructor", [maf, spline])
def test_a_flow_starts_near_the_normal_distribution_of_the_codes(constructor):
    generator = torch.Generator().manual_seed(0)
    codes = (
        torch.randn(500, 3, generator=generator, dtype=torch.float64)
        @ torch.tensor([[2.0, 0, 0], [1.9, 0.1, 0], [5.0, -3.0, 40.0]]).double().T
        + 7
    )
    flow = fit_flow(codes, codes, flow=constructor(3, hidden=(8,)), epochs=1, learning_rate=1e-12)
    difference = flow().log_prob(codes) - fit_gaussian(codes)().log_prob(codes)
    assert (
        abs(difference.mean()) < 0.02 and difference.std() < 0.2
    )  # spread with another scale for each feature alone, it would be 2.9 nats


def test_codes_in_a_subspace_still_have_a_flow():
    codes = ring(200).double()
    codes = torch.cat([codes, codes[:, :1]], 1)
    assert fit_flow(codes, codes, flow=maf(3, hidden=(8,)), epochs=1)().log_prob(codes).isfinite().all()


def test_early_stopping_keeps_the_best_epoch(monkeypatch):
    results = []
    monkeypatch.setattr(flow_fits, "fit", lambda *args, **options: results.append(fit(*args, **options)) or results[-1])
    codes, valid = ring(60), ring(500, seed=1)
    prior = fit_flow(codes, valid, flow=spline(2, hidden=(32, 32)), epochs=60, learning_rate=0.02, patience=5)
    result, losses = results[0], results[0].history["valid_loss"]
    assert result.stopped_early and len(losses) == result.best_epoch + 5 < 60
    best = -prior().log_prob(valid).mean().item()
    assert best == pytest.approx(losses.min(), rel=1e-5) and losses.iloc[-1] > best + 0.01


def test_a_seed_makes_the_flow():
    codes = ring(60)
    state = torch.get_rng_state()
    first, again, other = (fit_flow(codes, codes, epochs=1, seed=seed)().log_prob(codes) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again) and not torch.equal(first, other)


# Models mended


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
    mended = evaluate(pair.with_prior(fit_gaussian(codes_of(pair, train)), site="z"), test, num_particles=50, progress=False)
    assert exact.mean() - before.mean > 0.5
    difference = mended.log_px - exact
    # Five numbers fitted to N codes cost 5 / 2N nats on average, and single data sqrt(5 / N) either way.
    assert abs(difference.mean()) < 5 / 40000 + 5 * difference.std() / 20 < 0.01
    assert difference.abs().max() < 10 * (5 / 20000) ** 0.5


class Exact(nn.Module):
    """A linear-Gaussian conditional of fixed weights as a part of a VAE."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, value):
        return self.function(value)


def linear_likelihood(oracle):
    return Exact(lambda z: dist.Normal(z @ oracle.weight.T + oracle.offset, oracle.noise.sqrt()).to_event(1))


def two_stage_oracle():
    """z = A u + a + noise, x = W z + b + noise; the VAEs of both stages have exact posteriors under the chain."""
    first, second = LinearGaussian(5, 3, seed=1), LinearGaussian(3, 2, seed=2)
    spread = second.weight @ second.weight.T + second.noise.diag()  # of z
    noise = first.noise.diag()
    precision = torch.linalg.inv(spread) + first.weight.T @ torch.linalg.inv(noise) @ first.weight

    def q_z(x):
        shift = (x - first.offset) / first.noise @ first.weight + torch.linalg.solve(spread, second.offset)
        return dist.MultivariateNormal(torch.linalg.solve(precision, shift[..., None]).squeeze(-1), precision_matrix=precision)

    marginal = torch.distributions.MultivariateNormal(
        second.offset @ first.weight.T + first.offset, first.weight @ spread @ first.weight.T + noise
    )
    stages = (
        VAE(StandardNormal(3), linear_likelihood(first), Exact(q_z)),
        VAE(StandardNormal(2), linear_likelihood(second), Exact(second.posterior)),
    )
    return TwoStageVAE(*stages).double(), marginal


def test_two_stages_have_the_marginal_of_the_chain():
    vae, marginal = two_stage_oracle()
    x = marginal.sample((50,))
    score = evaluate(vae, x, num_particles=30, progress=False)
    torch.testing.assert_close(score.log_px, marginal.log_prob(x), rtol=1e-9, atol=1e-9)
    assert set(encode(vae, x)) == {"u", "z"}
    draws = sample_prior(vae, torch.zeros(40000, 5).double(), seed=0)
    error = (marginal.variance / 40000).sqrt()
    assert ((draws.mean(0) - marginal.mean).abs() < 5 * error).all()
    assert (torch.cov(draws.T) - marginal.covariance_matrix).abs().max() < 6 * marginal.variance.max() * (2 / 40000) ** 0.5


def test_stages_of_a_two_stage_model_are_vaes():
    vae = VAE(StandardNormal(2), nn.Identity(), nn.Identity())
    with pytest.raises(TypeError, match="second must be a VAE; got StandardNormal"):
        TwoStageVAE(vae, StandardNormal(2))


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


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda z: fit_gaussian_mixture(z[:8], num_components=3), ValueError, "3 codes for each component; got 3 for 8 codes. Take fewer"),
        (lambda z: fit_gaussian_mixture(z[:5], num_components=(1, 3), diagonal=True), ValueError, r"2 codes .* got \(1, 3\) for 5"),
        (lambda z: fit_gaussian_mixture(z, num_components=0), ValueError, "must be at least 1"),
        (lambda z: fit_gaussian_mixture(z, num_components=()), ValueError, r"got \(\)"),
        (lambda z: fit_gaussian_mixture(z[:2]), ValueError, "got None for 2 codes"),
        (lambda z: fit_gaussian_mixture(z, z[:, :1]), ValueError, r"valid must have shape \[N, 2\]; got \(100, 1\)"),
        (lambda z: fit_gaussian(z[:, [0, 0]]), ValueError, "lie in a subspace"),
        (lambda z: fit_gaussian(z[:2]), ValueError, "2 codes lie in a subspace"),
        (lambda z: fit_gaussian(z * torch.tensor([1.0, 0.0])), ValueError, "100 codes with 1 constant features"),
        (lambda z: fit_flow(z, z, flow=maf(3)), ValueError, r"must have 2 features, as the codes; got 3. Pass maf\(2\)"),
        (lambda z: fit_flow(z, z, flow=MLP(2, [4], 2)), TypeError, "must be a Flow; got MLP"),
        (lambda z: fit_flow(z, z, epochs=0), ValueError, "epochs must be an integer of at least 1"),
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
