"""Latents that are not normal: densities against scipy and quadrature, draws and gradients against their laws."""

import math

import pyro
import pytest
from scipy import integrate, special, stats
import torch
from torch import nn

from inference import evaluate, fit
from pyro_lvm import (
    MLP,
    VAE,
    BernoulliLikelihood,
    DirichletEncoder,
    DirichletPrior,
    LaplaceEncoder,
    LaplacePrior,
    LogisticNormal,
    LogisticNormalEncoder,
    LogisticNormalPrior,
    NormalEncoder,
    PowerSpherical,
    PowerSphericalEncoder,
    StandardNormal,
    StudentTEncoder,
    StudentTPrior,
    UniformSpherePrior,
    VampPrior,
    check_pair,
)

X = 3


def unit(D, seed=0):
    direction = torch.randn(D, generator=torch.Generator().manual_seed(seed)).double()
    return direction / direction.norm()


def double(*numbers):
    return torch.tensor(numbers).double()


# Power spherical


@pytest.mark.parametrize("D", [2, 3, 10])
@pytest.mark.parametrize("kappa", [0.0, 0.7, 30.0])
def test_power_spherical_equals_the_published_density_and_integrates_to_one(D, kappa):
    alpha, beta = (D - 1) / 2 + kappa, (D - 1) / 2
    log_norm = (alpha + beta) * math.log(2) + beta * math.log(math.pi) + special.gammaln(alpha) - special.gammaln(alpha + beta)
    fn, m = PowerSpherical(unit(D), double(kappa)[0]), unit(D)
    z = torch.stack([unit(D, seed) for seed in range(1, 8)])
    torch.testing.assert_close(fn.log_prob(z), kappa * torch.log1p(z @ m) - log_norm)

    across = torch.linalg.svd(m[None])[2][1]  # a unit vector at right angles to m

    def density(t):  # times the area of the sphere's slice at cosine t = sin(angle)
        z = math.sin(t) * m + math.cos(t) * across
        slice_area = 2 * math.pi**beta / math.gamma(beta) * math.cos(t) ** (D - 2)
        return fn.log_prob(z).exp().item() * slice_area

    assert integrate.quad(density, -math.pi / 2, math.pi / 2)[0] == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("D", [2, 3, 10])
@pytest.mark.parametrize("kappa", [0.0, 0.7, 30.0])
def test_power_spherical_draws_follow_their_law(D, kappa):
    torch.manual_seed(1)
    m, N = unit(D), 20000
    fn = PowerSpherical(m, double(kappa)[0])
    z = fn.sample((N,))
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(N).double())
    beta = (D - 1) / 2
    assert stats.kstest(((1 + z @ m) / 2).numpy(), stats.beta(beta + kappa, beta).cdf).pvalue > 1e-3
    assert ((z.mean(0) - fn.mean).abs() < 5 * z.std(0) / N**0.5).all()
    tangent = z - (z @ m)[:, None] * m
    spread = tangent.T @ tangent / N
    error = 6 * spread.diag().max() * (2 / N) ** 0.5
    assert (spread - (torch.eye(D).double() - m[:, None] * m) * spread.trace() / (D - 1)).abs().max() < error + 1e-12


@pytest.mark.parametrize("D", [2, 3, 10])
def test_power_spherical_gradients_are_those_of_the_mean(D):
    torch.manual_seed(2)
    N, weight = 40000, torch.randn(D).double()
    direction, log_kappa = (2 * unit(D)).requires_grad_(), torch.ones(()).double().requires_grad_()
    mean = PowerSpherical(direction / direction.norm(), log_kappa.exp()).mean
    exact = torch.autograd.grad(mean @ weight, [direction, log_kappa])
    many = direction.detach().expand(N, D).clone().requires_grad_(), log_kappa.detach().expand(N).clone().requires_grad_()
    fn = PowerSpherical(many[0] / many[0].norm(dim=-1, keepdim=True), many[1].exp())
    drawn = torch.autograd.grad((fn.rsample() @ weight).sum(), many)  # one gradient for each draw
    for gradient, expected in zip(drawn, exact, strict=True):
        gradient = gradient.reshape(N, -1)
        assert gradient.isfinite().all()
        assert ((gradient.mean(0) - expected).abs() < 5 * gradient.std(0) / N**0.5).all()


@pytest.mark.parametrize("kappa", [0.0, 1.0, 1e3, 1e5])
@pytest.mark.parametrize("D", [2, 40])
def test_power_spherical_keeps_its_digits_in_float32(D, kappa):
    torch.manual_seed(0)
    m = unit(D).float()
    fn = PowerSpherical(m, torch.tensor(kappa))
    z = fn.sample((200,))
    double_fn = PowerSpherical(m.double() / m.double().norm(), double(kappa)[0])
    error = (fn.log_prob(z).double() - double_fn.log_prob(z.double() / z.double().norm(dim=-1, keepdim=True))).abs()
    assert error.max() < 2e-3
    with pyro.validation_enabled():
        PowerSpherical(m, torch.tensor(kappa)).log_prob(z)  # draws and mean direction lie on the sphere


def test_power_spherical_at_its_poles():
    axis = double(1, 0, 0)
    fn = PowerSpherical(axis, double(0.0)[0])
    assert fn.log_prob(-axis).item() == pytest.approx(-math.log(4 * math.pi)) == fn.log_prob(axis).item()
    assert PowerSpherical(axis, double(2.0)[0]).log_prob(-axis) == -math.inf
    assert PowerSpherical(-axis, double(5e3)[0]).sample((9,))[:, 0].max() < -0.95
    assert PowerSpherical(axis, double(5e3)[0]).sample((9,))[:, 0].min() > 0.95


# Logistic normal


def test_logistic_normal_of_two_equals_scipys_normal_of_the_log_odds():
    loc, scale, z = double(0.3, -0.5), double(0.4, 1.1), torch.linspace(0.01, 0.99, 30).double()
    expected = stats.norm(0.8, (0.16 + 1.21) ** 0.5).logpdf(special.logit(z.numpy())) - (z * (1 - z)).log().numpy()
    pair = torch.stack([z, 1 - z], -1)
    torch.testing.assert_close(LogisticNormal(loc, scale).log_prob(pair), torch.as_tensor(expected))
    torch.testing.assert_close(LogisticNormal(loc + 7, scale).log_prob(pair), torch.as_tensor(expected))


def test_logistic_normal_draws_are_the_softmax_of_normal_draws():
    loc, scale, N = double(0.3, -0.5, 1.0), double(0.4, 1.1, 0.7), 20000
    torch.manual_seed(0)
    log_z = LogisticNormal(loc, scale).sample((N,)).log()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        law = stats.norm((loc[i] - loc[j]).item(), (scale[i] ** 2 + scale[j] ** 2).sqrt().item())
        assert stats.kstest((log_z[:, i] - log_z[:, j]).numpy(), law.cdf).pvalue > 1e-3
    ratios = log_z[:, :2] - log_z[:, 2:]
    assert torch.cov(ratios.T)[0, 1].item() == pytest.approx(0.49, abs=5 * 1.7 * (2 / N) ** 0.5)


def test_logistic_normal_of_five_equals_the_normal_of_its_log_ratios():
    torch.manual_seed(0)
    loc, scale, z = torch.randn(5).double(), torch.rand(5).double() + 0.2, torch.randn(20, 5).double().softmax(-1)
    log_z, covariance = z.log(), (scale[:4] ** 2).diag() + scale[4] ** 2
    ratios = stats.multivariate_normal((loc[:4] - loc[4]).numpy(), covariance.numpy())
    expected = torch.as_tensor(ratios.logpdf((log_z[:, :4] - log_z[:, 4:]).numpy())) - log_z.sum(-1)
    torch.testing.assert_close(LogisticNormal(loc, scale).log_prob(z), expected)


def test_logistic_normal_gradients_are_finite_and_those_of_softmax():
    loc, scale = double(0.3, -0.5, 1.0).requires_grad_(), double(0.4, 1.1, 0.7).requires_grad_()
    torch.manual_seed(0)
    ours = torch.autograd.grad(LogisticNormal(loc, scale).rsample((9,))[:, 0].sum(), [loc, scale])
    torch.manual_seed(0)
    noise = torch.normal(torch.zeros(9, 3).double(), torch.ones(9, 3).double())
    theirs = torch.autograd.grad((loc + scale * noise).softmax(-1)[:, 0].sum(), [loc, scale])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_logistic_normal_survives_shares_that_underflow():
    fn = LogisticNormal(torch.tensor([0.0, 300.0, 0.0]), torch.ones(3))
    z = fn.rsample((50,))
    assert (z > 0).all() and fn.log_prob(z).isfinite().all()


# Priors and encoders against scipy


def test_priors_equal_scipy():
    z = torch.randn(50, 2).double()
    torch.testing.assert_close(LaplacePrior(2).double()().log_prob(z), torch.as_tensor(stats.laplace.logpdf(z.numpy())).sum(-1))
    torch.testing.assert_close(StudentTPrior(2, df=3.3).double()().log_prob(z), torch.as_tensor(stats.t(3.3).logpdf(z.numpy())).sum(-1))
    shares = z.softmax(-1)
    expected = torch.tensor([stats.dirichlet([0.7, 0.7]).logpdf(row) for row in shares.numpy()])
    torch.testing.assert_close(DirichletPrior(2, concentration=0.7).double()().log_prob(shares), expected)
    expected = stats.norm(0, 2 * 2**0.5).logpdf(special.logit(shares[:, 0].numpy())) - shares.log().sum(-1).numpy()
    torch.testing.assert_close(LogisticNormalPrior(2, scale=2.0).double()().log_prob(shares), torch.as_tensor(expected))
    sphere = torch.stack([unit(5, seed) for seed in range(4)])
    area = 2 * math.pi**2.5 / math.gamma(2.5)
    torch.testing.assert_close(UniformSpherePrior(5).double()().log_prob(sphere), torch.full((4,), -math.log(area)).double())


def constant(*features):
    network = nn.Linear(1, len(features)).double()
    nn.init.zeros_(network.weight)
    network.bias.data = double(*features)
    return network


def test_encoders_equal_scipy():
    x, z = torch.ones(1, 1).double(), torch.randn(50, 2).double()
    loc, scale = double(0.2, -1.0), double(0.3, -0.4).exp()
    features = constant(0.2, -1.0, 0.3, -0.4)
    for encoder, law in ((LaplaceEncoder(features), stats.laplace), (StudentTEncoder(features, df=2.5), stats.t(2.5))):
        expected = torch.as_tensor(law.logpdf(((z - loc) / scale).numpy())) - scale.log()
        torch.testing.assert_close(encoder(x).log_prob(z), expected.sum(-1))
    shares = torch.randn(50, 3).double().softmax(-1)
    expected = torch.tensor([stats.dirichlet([math.e, 1.0, 2.0]).logpdf(row) for row in shares.numpy()])
    encoder = DirichletEncoder(constant(1.0, 0.0, math.log(2)))
    torch.testing.assert_close(encoder(x).log_prob(shares), expected)
    encoder = LogisticNormalEncoder(constant(0.2, -1.0, 0.3, -0.4))
    shares = z.softmax(-1)
    law = stats.norm(1.2, (scale**2).sum().sqrt().item())
    expected = torch.as_tensor(law.logpdf(special.logit(shares[:, 0].numpy()))) - shares.log().sum(-1)
    torch.testing.assert_close(encoder(x).log_prob(shares), expected)
    fn = PowerSphericalEncoder(constant(3.0, 4.0, math.log(5)))(x)
    torch.testing.assert_close(fn.loc, double(0.6, 0.8)[None])
    torch.testing.assert_close(fn.concentration, double(5.0))


# In a VAE


def plane():
    """Points z = sinh(u), which reach far into heavy tails, and log cell sizes."""
    axis = torch.arange(-9, 9, 0.06).double()
    u = torch.cartesian_prod(axis, axis)
    return u.sinh(), u.cosh().log().sum(-1) + 2 * math.log(0.06)


def simplex():
    """Shares of the softmax of a plane, and log cell sizes of the first two."""
    axis = torch.arange(-30, 30, 0.2).double()
    u = torch.cartesian_prod(axis, axis)
    z = torch.cat([u, torch.zeros(len(u), 1).double()], -1).log_softmax(-1)
    return z.exp(), z.sum(-1) + 2 * math.log(0.2)


def sphere():
    height, angle = (torch.arange(200).double() + 0.5) / 100 - 1, torch.arange(200).double() * math.pi / 100
    t, a = torch.cartesian_prod(height, angle).unbind(-1)
    radius = (1 - t**2).sqrt()
    return torch.stack([t, radius * a.cos(), radius * a.sin()], -1), torch.full((len(t),), math.log(0.01 * math.pi / 100)).double()


ENCODERS = {
    "laplace": (plane, 2, lambda: LaplaceEncoder(MLP(X, [8], 4))),
    "student-t": (plane, 2, lambda: StudentTEncoder(MLP(X, [8], 4))),
    "dirichlet": (simplex, 3, lambda: DirichletEncoder(MLP(X, [8], 3))),
    "logistic-normal": (simplex, 3, lambda: LogisticNormalEncoder(MLP(X, [8], 6))),
    "power-spherical": (sphere, 3, lambda: PowerSphericalEncoder(MLP(X, [8], 4))),
}
PRIORS = {
    plane: {"standard": StandardNormal, "laplace": LaplacePrior, "student-t": StudentTPrior},
    simplex: {"dirichlet": DirichletPrior, "logistic-normal": LogisticNormalPrior},
    sphere: {"uniform": UniformSpherePrior},
}
HEAVIER_PRIORS = {("laplace", "student-t"), ("logistic-normal", "dirichlet")}
PAIRS = [(encoder, prior) for encoder, (space, *_) in ENCODERS.items() for prior in (*PRIORS[space], "vamp")]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_draws_have_the_moments_of_the_density_and_finite_gradients(encoder):
    torch.manual_seed(3)
    space, _, make = ENCODERS[encoder]
    encode = make().double()
    q, (z, log_cell) = encode(torch.rand(X).double()), space()
    weight, N = (q.log_prob(z) + log_cell).exp(), 20000
    draws = q.rsample((N,))
    for power in (1, 2):  # of tanh z, since z itself may have no second moment
        drawn = draws.tanh() ** power
        assert ((drawn.mean(0) - weight @ z.tanh() ** power).abs() < 5 * drawn.std(0) / N**0.5 + 1e-4).all()
    (draws.tanh().sum() + q.log_prob(draws).sum()).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in encode.parameters())


@pytest.mark.parametrize(("encoder", "prior"), PAIRS)
def test_pairs_learn_and_are_scored(encoder, prior):
    """Densities integrate to one, gradients are finite, and log p(x) is the integral over the latent space."""
    torch.manual_seed(0)
    space, D, make = ENCODERS[encoder]
    encode, x = make(), (torch.rand(8, X) > 0.5).double()
    p = VampPrior(encode, torch.rand(3, X)) if prior == "vamp" else PRIORS[space][prior](D)
    vae = VAE(p, BernoulliLikelihood(MLP(D, [8], X)), encode).double()
    losses = fit(vae, x, epochs=10, learning_rate=0.01, progress=False).history.train_loss
    assert losses.map(math.isfinite).all() and all(p.isfinite().all() for p in vae.parameters())

    z, log_cell = space()
    with torch.no_grad():
        log_prior = vae.prior().log_prob(z) + log_cell
        exact = (log_prior[:, None] + vae.likelihood(z[:, None]).log_prob(x)).logsumexp(0)
        assert log_prior.logsumexp(0).exp().item() == pytest.approx(1, abs=2e-3)
        assert (vae.encoder(x[:1]).log_prob(z) + log_cell).logsumexp(0).exp().item() == pytest.approx(1, abs=2e-3)
    score = evaluate(vae, x, num_particles=2000, progress=False)
    # Where the prior's tails are heavier than the guide's, weights have no variance and their error is too small.
    slack = 0.2 if (encoder, prior) in HEAVIER_PRIORS else 2e-3
    assert ((score.log_px - exact).abs() < 5 * score.mc_error + slack).all()


# Errors


@pytest.mark.parametrize(
    ("prior", "encoder", "message"),
    [
        (StandardNormal(3), ENCODERS["dirichlet"][2], "the prior lives on the whole space, the guide on the simplex"),
        (UniformSpherePrior(3), ENCODERS["logistic-normal"][2], "the prior lives on the sphere, the guide on the simplex"),
        (DirichletPrior(3), lambda: NormalEncoder(MLP(X, (), 6)), "the prior lives on the simplex, the guide on the whole space"),
        (VampPrior(ENCODERS["dirichlet"][2](), torch.rand(2, X)), ENCODERS["power-spherical"][2], "simplex, the guide on the sphere"),
    ],
)
def test_densities_on_different_spaces_are_not_compared(prior, encoder, message):
    vae, x = VAE(prior, BernoulliLikelihood(MLP(3, (), X)), encoder()), torch.ones(4, X)
    assert message in check_pair(vae, x).refusal
    with pytest.raises(ValueError, match=message):
        evaluate(vae, x, num_particles=3, progress=False)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_nan_in_an_encoder_is_refused(encoder):
    space, D, make = ENCODERS[encoder]
    vae = VAE(next(iter(PRIORS[space].values()))(D), BernoulliLikelihood(MLP(D, (), X)), make())
    next(vae.encoder.parameters()).data.fill_(math.nan)
    with pytest.raises(ValueError, match="Look for NaN in its parameters"):
        fit(vae, torch.ones(4, X), epochs=1, progress=False)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DirichletPrior(1), "latent_dim must be an integer of at least 2; got 1"),
        (lambda: UniformSpherePrior(1), "latent_dim must be an integer of at least 2; got 1"),
        (lambda: LogisticNormalPrior(0), "latent_dim must be an integer of at least 2; got 0"),
        (lambda: LaplacePrior(0), "latent_dim must be an integer of at least 1; got 0"),
        (lambda: StudentTPrior(2, df=0.0), "df must be positive and finite; got 0.0"),
        (lambda: StudentTEncoder(nn.Linear(2, 4), df=math.nan), "df must be positive and finite; got nan"),
        (lambda: DirichletPrior(2, concentration=-1.0), "concentration must be positive and finite; got -1.0"),
        (lambda: LogisticNormalPrior(2, scale=0.0), "scale must be positive and finite; got 0.0"),
        (lambda: LaplaceEncoder(nn.Linear(2, 3))(torch.ones(5, 2)), r"2 \* D features, mean and log scale; got 3"),
        (lambda: PowerSpherical(torch.ones(1), torch.ones(())), r"loc \[\*batch, D\], D at least 2"),
        (lambda: LogisticNormal(torch.ones(3), torch.ones(2)), r"LogisticNormal needs .* got \(3,\) and \(2,\)"),
        (lambda: PowerSpherical(torch.ones(5, 3), torch.ones(())), r"got \(5, 3\) and \(\)"),
    ],
)
def test_errors_name_the_remedy(build, message):
    with pytest.raises(ValueError, match=message):
        build()
