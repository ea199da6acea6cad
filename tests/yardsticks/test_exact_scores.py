"""Yardsticks against scikit-learn, scipy and enumeration: the score of every row, in float64."""

from itertools import product

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture
import torch

from inference.data.columns import Column
from inference.data.load import Data
from inference.scoring.importance import evaluate
from inference.yardsticks import normals
from inference.yardsticks.fitting import baselines

LOADINGS = np.array([[2.0, 1.0, -1.0, 0.5, 0.0], [0.0, 1.0, 1.0, -0.5, 2.0]])


def data_of(rows: np.ndarray, kinds: tuple[Column, ...] | None = None, alphabet: str | None = None) -> Data:
    """Rows in float64, of which the last fifth is for tests and the fifth before for validation."""
    train, valid, test = np.split(rows, [3 * len(rows) // 5, 4 * len(rows) // 5])
    splits = {"train": torch.from_numpy(train), "valid": torch.from_numpy(valid), "test": torch.from_numpy(test)}
    return Data(name="rows", description="rows", **splits, alphabet=alphabet, kinds=kinds)


def real_rows(num_rows: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(num_rows, 2)) + rng.choice([-2.0, 2.0], size=(num_rows, 1))
    return (factors @ LOADINGS + rng.normal(size=(num_rows, 5))) * [1.0, 10.0, 0.1, 1.0, 3.0] + [0.0, 5.0, -1.0, 2.0, 100.0]


@pytest.fixture(scope="module")
def real() -> Data:
    return data_of(real_rows())


def standardized(data: Data) -> tuple[np.ndarray, np.ndarray, float]:
    """Training and test rows in units of the columns, and the log-Jacobian of these."""
    train, test = data.train.numpy(), data.test.numpy()
    loc, scale = train.mean(0), train.std(0)
    return (train - loc) / scale, (test - loc) / scale, float(np.log(scale).sum())


def scores(data: Data, name: str, **options: object) -> np.ndarray:
    found = baselines(data, latent_dim=2, names=[name], options=options)
    score = evaluate(found[name], data, progress=False)
    assert score.is_exact and (score.mc_error == 0).all() and score.num_dims == data.train[0].numel()
    return score.log_px.numpy()


def test_independent_real_columns_are_normal(real: Data) -> None:
    expected = stats.norm(real.train.mean(0), real.train.std(0, correction=0)).logpdf(real.test).sum(1)
    np.testing.assert_allclose(scores(real, "independent-columns"), expected, rtol=0, atol=1e-8)


def test_one_normal_has_the_moments_of_the_rows(real: Data) -> None:
    expected = stats.multivariate_normal(real.train.mean(0), np.cov(real.train.T, bias=True)).logpdf(real.test)
    np.testing.assert_allclose(scores(real, "full-normal"), expected, rtol=0, atol=1e-8)


def test_factor_analysis_and_ppca_are_those_of_scikit_learn_in_units_of_the_columns(real: Data) -> None:
    train, test, log_jacobian = standardized(real)
    for name, model in (("factor-analysis", FactorAnalysis(2, svd_method="lapack")), ("ppca", PCA(2, svd_solver="full"))):
        expected = model.fit(train).score_samples(test) - log_jacobian
        np.testing.assert_allclose(scores(real, name), expected, rtol=0, atol=1e-8)


def test_units_of_the_columns_change_nothing_but_the_jacobian(real: Data) -> None:
    units = np.array([1.0, 1e3, 1e-3, 7.0, 0.2])
    other = data_of(real_rows() * units)
    for name in ("factor-analysis", "normal-mixture", "latent-classes"):
        np.testing.assert_allclose(scores(other, name), scores(real, name) - np.log(units).sum(), rtol=0, atol=1e-6)


def test_mixtures_are_those_of_scikit_learn_and_their_size_is_chosen_on_validation_rows(real: Data) -> None:
    train, test, log_jacobian = standardized(real)
    model = GaussianMixture(2, reg_covar=normals._REGULARIZATIONS[0], random_state=0).fit(train)
    expected = model.score_samples(test) - log_jacobian
    found = baselines(real, names=["normal-mixture"])["normal-mixture"]
    assert found.size == "of 2 components"  # as the rows were drawn
    np.testing.assert_allclose(evaluate(found, real, progress=False).log_px, expected, rtol=0, atol=1e-8)


def binary_rows(num_rows: int = 500, num_columns: int = 6) -> np.ndarray:
    rng = np.random.default_rng(1)
    shares = rng.choice([0.1, 0.9], size=(3, num_columns))
    return (rng.random((num_rows, num_columns)) < shares[rng.integers(3, size=num_rows)]).astype(float)


def test_latent_classes_sum_to_one_over_all_rows_and_beat_independent_columns() -> None:
    data = data_of(binary_rows())
    found = baselines(data, names=["latent-classes"])["latent-classes"]
    everything = torch.tensor(list(product([0.0, 1.0], repeat=6)), dtype=torch.float64)
    score = evaluate(found, everything, progress=False)
    assert score.measure == "mass" and float(score.log_px.exp().sum()) == pytest.approx(1, abs=1e-8)
    assert scores(data, "latent-classes").mean() > scores(data, "independent-columns").mean() + 0.1


def with_gaps(rows: np.ndarray, share: float = 0.2) -> np.ndarray:
    return np.where(np.random.default_rng(2).random(rows.shape) < share, np.nan, rows)


def test_latent_classes_of_rows_with_gaps_are_sums_over_classes_and_observed_cells() -> None:
    data = data_of(with_gaps(binary_rows()))
    found = baselines(data, names=["latent-classes"], options={"num_classes": (3,)})["latent-classes"]
    shares = found.categorical_logits.softmax(-1)[..., 1].numpy()  # [C, D]
    weights, x = found.logits.softmax(-1).numpy(), data.test.numpy()
    expected = np.zeros(len(x))
    for c, w in enumerate(weights):
        cells = np.where(x == 1, shares[c], 1 - shares[c])
        expected += w * np.prod(np.where(np.isnan(x), 1.0, cells), axis=1)
    score = evaluate(found, data, progress=False)
    np.testing.assert_allclose(score.log_px, np.log(expected), rtol=0, atol=1e-8)
    assert score.num_dims == pytest.approx((~np.isnan(x)).sum() / len(x))


def test_real_columns_with_gaps_are_fitted_to_what_is_there_and_others_are_left_out() -> None:
    rows = with_gaps(real_rows())
    data = data_of(rows)
    train = data.train.numpy()
    cells = stats.norm(np.nanmean(train, 0), np.nanstd(train, 0)).logpdf(data.test)
    found = baselines(data, latent_dim=2)
    assert set(found) == {"independent-columns", "latent-classes"} and found.left_out["ppca"] == "it takes no missing cells"
    score = evaluate(found["independent-columns"], data, progress=False)
    np.testing.assert_allclose(score.log_px, np.nansum(cells, axis=1), rtol=0, atol=1e-8)
    assert evaluate(found["latent-classes"], data, progress=False).mean > score.mean + 0.5


def test_expectation_maximization_raises_the_likelihood_of_rows_and_pseudo_rows() -> None:
    from inference.yardsticks.classes import Classes, _maximized, fit_classes, layout_of, prior_means, statistics
    from inference.yardsticks.rows import table_of

    kinds = tuple(Column(f"{place}", "real") for place in range(5))
    table = table_of(data_of(with_gaps(real_rows()), kinds), measure=None, latent_dim=None, seed=0)
    layout = layout_of(table)
    some = statistics(table.train, layout)
    whole = prior_means(some, layout)
    classes = fit_classes(some, layout, 3, smoothing=1.0, seed=0)

    def objective(classes: Classes) -> float:
        pseudo = whole @ _slopes(classes).T + _offsets(classes)  # [C]: expected log density of the whole data in each class
        return float(logsumexp(classes.log_joint(some, layout), axis=1).sum() + pseudo.sum() + np.log(classes.weights).sum() / 3)

    def _slopes(classes: Classes) -> np.ndarray:
        loc, square = np.split(classes.means, 2, axis=1)
        return np.concatenate([loc / (square - loc**2), -0.5 / (square - loc**2)], axis=1)

    def _offsets(classes: Classes) -> np.ndarray:
        loc, square = np.split(classes.means, 2, axis=1)
        return (-0.5 * (loc**2 / (square - loc**2) + np.log(square - loc**2))).sum(1)

    values = [objective(classes)]
    for _ in range(5):
        log_joint = classes.log_joint(some, layout)
        classes = _maximized(np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True)), some, whole, 1.0)
        values.append(objective(classes))
    assert all(after >= before - 1e-9 for before, after in zip(values, values[1:], strict=False))


def test_counts_are_negative_binomial_with_the_most_likely_total_count() -> None:
    rng = np.random.default_rng(3)
    rows = np.stack([rng.negative_binomial(2, 0.3, 1000), rng.poisson(4.0, 1000)], axis=1).astype(float)
    data = data_of(rows)
    found = baselines(data, measure="mass", names=["independent-columns"])["independent-columns"]
    total, logits = found.negative_binomial_total_count[0].numpy(), found.negative_binomial_logits[0].numpy()
    mean = (data.train.sum(0).numpy() + 0.5) / 601
    np.testing.assert_allclose(total * np.exp(logits), mean)
    expected = stats.nbinom(total, total / (total + mean)).logpmf(data.test).sum(1)
    np.testing.assert_allclose(evaluate(found, data, progress=False).log_px, expected, rtol=0, atol=1e-8)
    assert total[0] == pytest.approx(2, rel=0.2)
    near = [stats.nbinom(r, r / (r + mean[0])).logpmf(data.train[:, 0]).sum() for r in (total[0] * 0.98, total[0], total[0] * 1.02)]
    assert near[1] == max(near)


def test_latent_classes_of_counts_are_sums_over_classes() -> None:
    rng = np.random.default_rng(4)
    rows = rng.poisson(np.array([[1.0, 8.0, 3.0], [9.0, 1.0, 3.0]])[rng.integers(2, size=600)]).astype(float)
    data = data_of(rows)
    found = baselines(data, measure="mass", names=["latent-classes"], options={"num_classes": (2,)})["latent-classes"]
    total, logits = found.negative_binomial_total_count.numpy(), found.negative_binomial_logits.numpy()
    cells = stats.nbinom(total[:, None], 1 / (1 + np.exp(logits[:, None]))).logpmf(data.test)  # [C, N, D]
    expected = logsumexp(cells.sum(-1) + found.logits.log_softmax(-1).numpy()[:, None], axis=0)
    score = evaluate(found, data, progress=False)
    np.testing.assert_allclose(score.log_px, expected, rtol=0, atol=1e-8)
    assert score.mean > scores_of_counts(data) + 0.5


def scores_of_counts(data: Data) -> float:
    return evaluate(baselines(data, measure="mass", names=["independent-columns"])["independent-columns"], data, progress=False).mean


def test_rows_of_all_kinds_with_gaps_are_sums_over_classes_and_observed_cells() -> None:
    rng = np.random.default_rng(6)
    c = rng.integers(2, size=500)
    rows = np.stack([rng.normal(3.0 * c, 1.0), rng.poisson(1 + 5 * c), rng.integers(0, 2 + c), (rng.random(500) < 0.3 + 0.4 * c)], axis=1)
    kinds = (Column("r", "real"), Column("n", "count"), Column("v", "category", ("a", "b", "c", "d")), Column("b", "binary", ("no", "yes")))
    data = data_of(with_gaps(rows), kinds)
    found = baselines(data, latent_dim=2, options={"num_classes": (2,)})
    assert set(found) == {"independent-columns", "latent-classes"} and "its measure is density" in found.left_out["full-normal"]
    pair, x = found["latent-classes"], data.test.numpy()[:, :, None]  # [N, D, 1]
    total, logits = pair.negative_binomial_total_count[:, 0].numpy(), pair.negative_binomial_logits[:, 0].numpy()
    shares, codes = pair.categorical_logits.softmax(-1).numpy(), np.nan_to_num(x).astype(int)
    cells = [
        stats.norm(pair.normal_loc[:, 0], pair.normal_scale[:, 0]).logpdf(x[:, 0]),
        stats.nbinom(total, 1 / (1 + np.exp(logits))).logpmf(codes[:, 1]),
        np.log(shares[:, 0].T[codes[:, 2, 0]]),
        np.log(shares[:, 1].T[codes[:, 3, 0]]),
    ]
    terms = np.where(np.isnan(x), 0.0, np.stack(cells, axis=1)).sum(1)  # [N, C]
    expected = logsumexp(terms + pair.logits.log_softmax(-1).numpy(), axis=1)
    score = evaluate(pair, data, progress=False)
    np.testing.assert_allclose(score.log_px, expected, rtol=0, atol=1e-8)
    assert score.measure == "mixed" and score.is_exact and score.num_dims == pytest.approx((~np.isnan(x)).sum() / len(x))
    assert (shares[:, 0, 3] > 0).all()  # a value that no row has
    assert score.mean > evaluate(found["independent-columns"], data, progress=False).mean + 0.2


def test_n_grams_are_interpolated_counts_and_sum_to_one() -> None:
    rng = np.random.default_rng(5)
    rows = np.zeros((400, 4))
    for t in range(1, 4):  # a chain that mostly steps on
        rows[:, t] = np.where(rng.random(400) < 0.8, (rows[:, t - 1] + 1) % 3, rng.integers(3, size=400))
    data = data_of(rows, alphabet="abc")
    found = baselines(data)["n-grams"]
    everything = torch.tensor(list(product(range(3), repeat=4)), dtype=torch.float64)
    score = evaluate(found, everything, progress=False)
    assert score.measure == "mass" and float(score.log_px.exp().sum()) == pytest.approx(1, abs=1e-8)
    assert found.size == "of order 2"
    train, x = data.train.numpy().astype(int), [0, 1, 1, 2]
    singles = np.bincount(train.ravel(), minlength=3)
    first = (singles + found.alphas[0] / 3) / (singles.sum() + found.alphas[0])
    expected = np.log(first[x[0]])
    for before, code in zip(x, x[1:], strict=False):
        pairs = np.array([((train[:, :-1] == before) & (train[:, 1:] == c)).sum() for c in range(3)])
        expected += np.log((pairs[code] + found.alphas[1] * first[code]) / (pairs.sum() + found.alphas[1]))
    row = int((everything == torch.tensor(x)).all(1).nonzero())
    assert float(score.log_px[row]) == pytest.approx(expected, abs=1e-8)
