"""What the entries are known from: published totals, and independent libraries."""

from functools import partial
from itertools import product

import numpy as np
import pytest
from scipy import integrate, optimize, stats
from scipy.special import logsumexp
from sklearn.decomposition import FactorAnalysis
from sklearn.mixture import GaussianMixture
import torch

from inference import log_weights
from known import classes, factors, items, published, series
from known.entries import ALL
from known.normal import SCALES, normal


def log_px(name):
    return ALL[name].known.log_px.numpy()


def data(name):
    return ALL[name].known.batch[0].numpy()


def test_the_bench_is_complete():
    kinds = {entry.guide for entry in ALL.values()}
    assert len(ALL) >= 24
    assert kinds >= {"exact", "good", "narrow", "wide", "shifted", "one mode", "light tails", "small support", "factorized", "flow"}
    assert {entry.pareto_k for entry in ALL.values()} >= {0.36, 0.51, 0.64, 0.75, 0.84, 0.91}


@pytest.mark.parametrize(("name", "parameters"), [("rasch", published.RASCH), ("2pl", published.TWO_PARAMETERS)])
def test_lsat_totals_are_those_published(name, parameters):
    seen = published.LSAT_COUNTS[items.SEEN]
    total = log_px({"rasch": "lsat rasch, moments", "2pl": "lsat 2pl, narrow"}[name]) @ seen
    assert total == pytest.approx(published.LSAT_TOTALS[name], abs=6e-4)
    slopes, intercepts = parameters
    free = 1 if name == "rasch" else 5

    def loss(p):
        return -items.log_patterns(published.LSAT_PATTERNS[items.SEEN], p[:free] * np.ones(5), p[free:]) @ seen

    found = optimize.minimize(loss, np.concatenate([np.ones(free), np.zeros(5)])).x
    found[:free] *= np.sign(found[0])  # the latent may be turned round
    assert found == pytest.approx(np.concatenate([slopes[:free], intercepts]), abs=5e-3)


def test_quadrature_of_items_is_that_of_another_rule():
    x, (slopes, intercepts) = data("lsat 2pl, narrow"), published.TWO_PARAMETERS
    for row in (0, 13, 29):
        density = partial(item_density, x[row : row + 1], slopes, intercepts)
        assert np.log(adaptive(density, -10, 10)) == pytest.approx(log_px("lsat 2pl, narrow")[row], abs=1e-9)


def item_density(pattern, slopes, intercepts, z):
    return stats.norm.pdf(z) * np.exp(items.log_answers(pattern, slopes, intercepts, np.array([z]))).item()


@pytest.mark.parametrize("count", published.CARCINOMA_TOTALS)
def test_totals_of_latent_classes_are_those_published(count):
    assert classes.SLIDES.sum() == 118
    assert log_px(f"carcinoma, {count} classes") @ classes.SLIDES == pytest.approx(published.CARCINOMA_TOTALS[count], abs=1e-3)


def test_the_nile_is_as_published_and_as_one_large_normal():
    years = np.arange(1, series.YEARS)
    covariance = series.NOISE * (1 + np.eye(len(years))) + series.STEP * np.minimum.outer(years, years)
    whole = stats.multivariate_normal(np.full(len(years), published.NILE[0]), covariance).logpdf(data("nile, exact"))
    assert log_px("nile, exact")[0] == pytest.approx(published.NILE_TOTAL, abs=1e-4)
    assert log_px("nile, exact") == pytest.approx(whole, abs=1e-8)


def test_factor_analysis_is_that_of_scikit_learn():
    made = factors.Factors(30, 40)
    theirs = FactorAnalysis(30)
    theirs.mean_, theirs.components_, theirs.noise_variance_ = np.zeros(40), made.weight.T, made.noise**2
    assert log_px("factors-30, exact") == pytest.approx(theirs.score_samples(made.x), abs=1e-9)


def test_a_gaussian_mixture_is_that_of_scikit_learn():
    drawn = np.random.default_rng(23)  # the parameters of the entry
    shares, loc, scale = drawn.dirichlet(np.ones(4)), 2 * drawn.normal(size=(4, 3)), drawn.uniform(0.3, 1.5, size=(4, 3))
    theirs = GaussianMixture(4, covariance_type="diag")
    theirs.weights_, theirs.means_, theirs.covariances_, theirs.precisions_cholesky_ = shares, loc, scale**2, 1 / scale
    assert log_px("gaussian mixture") == pytest.approx(theirs.score_samples(data("gaussian mixture")), abs=1e-9)


def test_the_forward_algorithm_sums_over_all_paths():
    drawn = np.random.default_rng(19)  # the parameters of the entry
    start, moves, loc = drawn.dirichlet(np.ones(3)), drawn.dirichlet(np.ones(3), size=3), np.array([-1.5, 0.0, 2.0])
    x = data("hidden markov")
    paths = np.array(list(product(range(3), repeat=x.shape[1])))
    log_paths = np.log(start[paths[:, 0]]) + np.log(moves[paths[:, :-1], paths[:, 1:]]).sum(1)
    joint = log_paths + stats.norm.logpdf(x[:, None], loc[paths]).sum(-1)
    assert log_px("hidden markov") == pytest.approx(logsumexp(joint, axis=1), abs=1e-9)


def joint_density(name):
    """The density of latent and datum of entries with one latent, from independent pieces."""
    return {
        "two modes, one": lambda z, x: stats.norm.pdf(z) * stats.norm.pdf(x, z**2, 0.1),
        "poisson log-normal, moments": lambda z, x: stats.norm.pdf(z, 3, 2.5) * stats.poisson.pmf(x, np.exp(z)),
        "laplace scales, narrow": lambda z, x: np.exp(z - np.exp(z)) * stats.norm.pdf(x, 0, np.sqrt(2 * np.exp(z))),
        "student scales, narrow": lambda z, x: stats.loggamma.pdf(z, 1.5, -np.log(1.5)) * stats.norm.pdf(x, 0, np.exp(-z / 2)),
        "gamma-poisson, narrow": lambda z, x: stats.loggamma.pdf(z, 2, np.log(2)) * stats.poisson.pmf(x, np.exp(z)),
        "beta-binomial, uniform": lambda z, x: stats.beta.pdf(z, 2, 3) * stats.binom.pmf(x, 20, z),
        "box, most of it": lambda z, x: stats.uniform.pdf(z, -1, 2) * stats.norm.pdf(x, z, 0.4),
        "cauchy, normal guide": lambda z, x: stats.cauchy.pdf(z) * stats.cauchy.pdf(x, z),
    }[name]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("two modes, one", -6, 6),
        ("poisson log-normal, moments", -15, 12),
        ("laplace scales, narrow", -60, 5),
        ("student scales, narrow", -50, 8),
        ("gamma-poisson, narrow", -40, 6),
        ("beta-binomial, uniform", 0, 1),
        ("box, most of it", -1, 1),
        ("cauchy, normal guide", -np.inf, np.inf),
    ],
)
def test_known_figures_are_those_of_adaptive_quadrature(name, low, high):
    density = joint_density(name)
    for row in (0, 15):
        found = adaptive(partial(density, x=data(name)[row].item()), low, high)
        assert np.log(found) == pytest.approx(log_px(name)[row], abs=1e-6), row


def adaptive(density, low, high):
    if np.isinf(low):
        return integrate.quad(density, low, high, limit=500, epsabs=0, epsrel=1e-10)[0]
    pieces = np.linspace(low, high, 60)
    return sum(integrate.quad(density, a, b, epsabs=1e-300, epsrel=1e-10)[0] for a, b in zip(pieces[:-1], pieces[1:], strict=True))


@pytest.mark.parametrize("latents", [1, 4])
@pytest.mark.parametrize("scale", SCALES)
def test_weights_of_narrow_guides_have_the_pareto_shape_that_is_stated(latents, scale):
    """log w = constant + k |u|^2 / 2 for a standard normal u, so 2 (log w - least) / k is chi-squared, and the tail falls as w^(-1 / k)."""
    k = 1 - scale**2
    found = normal(latents, scale=scale, num_data=4)
    least = found.log_px + latents * np.log(scale)  # log w at the guide's mean
    drawn = 2 * (log_weights(found.pair, *found.batch, num_particles=4000, seed=1) - least) / k
    assert stats.kstest(drawn.flatten().numpy(), stats.chi2(latents).cdf).pvalue > 1e-3
    log_w = 200 * k + np.array([0.0, 1.0])  # far out
    slope = np.diff(stats.chi2(latents).logsf(2 * log_w / k)) - (latents / 2 - 1) / log_w[0]  # without a power of log w
    assert -1 / slope == pytest.approx(k, rel=5e-3)
    assert any(entry.pareto_k == pytest.approx(k) and name.startswith(f"normal-{latents}") for name, entry in ALL.items())


def test_entries_are_the_same_every_time():
    for name in ("normal-1, exact", "factors-4, autoregressive flow", "two levels, narrow"):
        entry = ALL[name]
        assert all(map(torch.equal, type(entry)(**vars_of(entry)).known.batch, entry.known.batch))


def vars_of(entry):
    return {field: getattr(entry, field) for field in entry.__dataclass_fields__}
