"""Normal distributions and mixtures of them fitted to codes: against scikit-learn and closed forms."""

from clouds import SHIFT, STRETCH, clusters, ring
import pytest
from sklearn.mixture import GaussianMixture
import torch

from inference import fit_gaussian, fit_gaussian_mixture


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


def test_candidates_are_as_many_as_the_codes_support():
    assert len(fit_gaussian_mixture(clusters(600)).logits) == 5  # of 1, 2, 5, ...: no 3, which 2 cannot stand for
    assert len(fit_gaussian_mixture(clusters(600)[:5]).logits) == 1
    assert len(fit_gaussian_mixture(clusters(600), num_components=7).logits) == 7


def test_gaussian_has_the_closed_form():
    codes = SHIFT + STRETCH * clusters(100)
    expected = torch.distributions.MultivariateNormal(codes.mean(0), torch.cov(codes.T, correction=0))
    torch.testing.assert_close(fit_gaussian(codes)().log_prob(codes), expected.log_prob(codes), rtol=1e-10, atol=1e-10)


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
    ],
)
def test_errors_name_the_remedy(build, error, message):
    with pytest.raises(error, match=message):
        build(ring(100))
