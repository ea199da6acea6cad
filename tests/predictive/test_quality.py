"""Sample quality: brute force on small sets, closed forms on normal ones, errors against repeated experiments."""

from math import prod

import numpy as np
from oracles import LinearGaussian
import pytest
import scipy.linalg
from sklearn.datasets import load_digits
import torch

from inference.formatting import format_with_error
from inference.predictive.draws import in_blocks
from inference.predictive.features import Features, classifier_features, default_features, pca_features
from inference.predictive.quality import (
    METRICS,
    format_quality,
    frechet_distance,
    pair_samples,
    quality_differences,
    quality_table,
    sample_quality,
)

IDENTITY = Features("the data themselves", lambda x: x)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(samples, real, k):
    """The four neighbour figures point by point, ties inside."""

    def distance(a, b):
        return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))

    def radius(points, i):
        return sorted(distance(points[i], other) for j, other in enumerate(points) if j != i)[k - 1]

    y, x = samples.tolist(), real.tolist()
    y_radii, x_radii = [radius(y, j) for j in range(len(y))], [radius(x, i) for i in range(len(x))]
    inside = [[distance(a, b) <= r for b, r in zip(x, x_radii, strict=True)] for a in y]
    recalled = [[distance(a, b) <= r for b in x] for a, r in zip(y, y_radii, strict=True)]
    return [
        sum(map(any, inside)) / len(y),
        sum(map(any, zip(*recalled, strict=True))) / len(x),
        sum(map(sum, inside)) / (k * len(y)),
        sum(map(any, zip(*inside, strict=True))) / len(x),
    ]


@pytest.mark.parametrize(("k", "num_samples", "num_real"), [(1, 30, 30), (3, 27, 41), (10, 60, 22)])
def test_figures_of_the_whole_and_of_halves_follow_their_definitions(k, num_samples, num_real, monkeypatch):
    monkeypatch.setattr("inference.predictive.quality._BLOCK_ELEMENTS", 200)
    samples, real = 0.8 * normal(num_samples, 2, seed=1) + 0.3, normal(num_real, 2)
    quality = sample_quality(samples, real, IDENTITY, neighbours=k)
    torch.testing.assert_close(quality.values[:4].tolist(), by_definition(samples, real, k))
    generator = torch.Generator().manual_seed(0)
    cuts = torch.randperm(num_real, generator=generator).chunk(2)
    generator.manual_seed(0)
    for i, j, figures in zip(torch.randperm(num_samples, generator=generator).chunk(2), cuts, quality.halves[0], strict=True):
        expected = [*by_definition(samples[i], real[j], k), float(frechet_distance(samples[i], real[j]))]
        torch.testing.assert_close(figures.tolist(), expected)
    assert quality.precision == quality.values[0] and quality.frechet == quality.values[4]


def test_ties_lie_inside_however_they_are_rounded():
    """Whole numbers far from zero, each several times: radii are often 0, and squared distances are rounded."""
    generator = torch.Generator().manual_seed(0)
    samples, real = (torch.randint(3, (40, 2), generator=generator).double() + 0.1 for _ in range(2))
    quality = sample_quality(samples + 1000, real + 1000, IDENTITY, neighbours=2)
    torch.testing.assert_close(quality.values[:4].tolist(), by_definition(samples, real, 2))


def test_by_hand():
    """Data at 0, 1, 2, ..., 19 with k = 1 have balls of radius 1; samples at .5 and its like lie in two, one at 40 in none."""
    real = torch.arange(20.0).double()[:, None]
    samples = torch.cat([torch.arange(19).double() + 0.5, torch.tensor([40.0]).double()])[:, None]
    quality = sample_quality(samples, real, IDENTITY, neighbours=1)
    assert (quality.precision, quality.recall, quality.coverage) == (0.95, 1.0, 1.0)
    assert quality.density == pytest.approx(2 * 19 / 20)


def test_expectations_where_both_have_one_distribution():
    k, M, N, repeats = 5, 80, 60, 50
    figures = torch.stack([sample_quality(normal(M, 3, seed=2 * r), normal(N, 3, seed=2 * r + 1), IDENTITY).values for r in range(repeats)])
    mean, error = figures.mean(0), figures.std(0) / repeats**0.5
    coverage = 1 - prod((N - i) / (N + M - i) for i in range(1, k + 1))
    assert abs(mean[2] - 1) < 4 * error[2] and abs(mean[3] - coverage) < 4 * error[3]
    assert max(error[2:4]) < 0.02


def test_errors_are_those_of_repeated_experiments():
    """Within what 50 experiments, and errors that vary by a fifth, can tell."""
    qualities = [sample_quality(0.8 * normal(200, 3, seed=2 * r), normal(200, 3, seed=2 * r + 1), IDENTITY, seed=r) for r in range(50)]
    spread = torch.stack([quality.values for quality in qualities]).std(0)
    squared = torch.tensor([list(quality.standard_errors.values()) for quality in qualities]).square().mean(0)
    ratio = squared.sqrt() / spread
    assert ((ratio > 0.7) & (ratio < 1.45)).all()


def test_frechet_distance_of_normals():
    """Of the moments themselves: any set with those moments will do."""
    A, B = normal(4, 4, seed=1), normal(4, 4, seed=2)
    first, second = normal(50, 4, seed=3) @ A, normal(70, 4, seed=4) @ B + 2
    s1, s2 = np.cov(first.T), np.cov(second.T)
    shared = np.trace(scipy.linalg.sqrtm(s1 @ s2)).real
    expected = np.sum((first.mean(0) - second.mean(0)).numpy() ** 2) + np.trace(s1) + np.trace(s2) - 2 * shared
    assert float(frechet_distance(first, second)) == pytest.approx(expected, rel=1e-10)
    assert float(frechet_distance(first, first + 3)) == pytest.approx(4 * 9, rel=1e-10)
    assert float(frechet_distance(first, 2 * first + first.mean(0) * -1)) == pytest.approx(np.trace(s1), rel=1e-9)
    line = first[:, :1] * torch.ones(4)
    assert float(frechet_distance(line, 3 * line - 2 * line.mean(0))) == pytest.approx(4 * 4 * s1[0, 0], rel=1e-6)
    assert float(frechet_distance(first[:, :1], first[:, :1] + 1)) == pytest.approx(1)


def test_shifted_and_shrunken_samples():
    real = normal(400, 2)
    far = sample_quality(normal(400, 2, seed=1) + 100, real, IDENTITY)
    assert far.values[:4].tolist() == [0, 0, 0, 0] and far.frechet == pytest.approx(20000, rel=0.01)
    narrow = sample_quality(0.1 * normal(400, 2, seed=1), real, IDENTITY)
    assert narrow.precision == 1 and narrow.recall < 0.1 and narrow.coverage < 0.3
    same = sample_quality(real, real, IDENTITY)
    assert same.values[[0, 1, 3]].tolist() == [1, 1, 1] and same.frechet == pytest.approx(0, abs=1e-8)


def test_a_pair_that_is_the_truth_pays_no_price_and_a_wrong_prior_does():
    oracle = LinearGaussian()
    reference, x = oracle.sample(500), oracle.sample(500)
    samples = pair_samples(oracle, x, seed=1)
    qualities = {name: sample_quality(rows, reference, IDENTITY) for name, rows in ({"data": x} | samples).items()}
    table = quality_table(qualities)
    price = quality_differences({"exact": (qualities["prior samples"], qualities["reconstructions"])}).iloc[0]
    for metric in ("precision", "recall", "density", "coverage", "frechet"):
        assert abs(price[metric]) < 4 * price[f"{metric}_se"] + 1e-12
        assert price[metric] == pytest.approx(table[metric].iloc[2] - table[metric].iloc[1])
    oracle.weight = 3 * oracle.weight
    worse = sample_quality(pair_samples(oracle, x)["prior samples"], reference, IDENTITY)
    assert worse.precision < table.loc["prior samples", "precision"] - 0.1
    assert worse.frechet > 3 * table.loc["prior samples", "frechet"]


def test_samples_of_a_pair_are_draws_or_means_and_repeat(monkeypatch):
    oracle = LinearGaussian()
    x = oracle.sample(30)
    monkeypatch.setitem(in_blocks.__kwdefaults__, "size", 7)
    state = torch.get_rng_state()
    draws, means = pair_samples(oracle, x), pair_samples(oracle, x, means=True)
    assert torch.equal(draws["prior samples"], pair_samples(oracle, x)["prior samples"])
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("reconstructions", "prior samples"):
        assert draws[name].shape == x.shape and len(draws[name].unique(dim=0)) == 30
        assert torch.linalg.matrix_rank(means[name] - oracle.offset) == 2 < torch.linalg.matrix_rank(draws[name] - oracle.offset)


def test_principal_components_keep_distances():
    x = normal(60, 2, 3, 2)
    features = pca_features(x, num_features=12)
    torch.testing.assert_close(torch.pdist(features(x)), torch.pdist(x.flatten(1)))
    assert features.description == "12 principal components of the training data (100% of their variance)"
    few = pca_features(x, num_features=3)
    torch.testing.assert_close(few(x).var(0), torch.linalg.eigvalsh(torch.cov(x.flatten(1).T)).flip(0)[:3])


def test_classifier_features_tell_digits_apart():
    images, classes = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    features = default_features(images[:1200], classes[:1200])
    f = features(images)
    assert f.shape == (len(images), 64) and f.dtype == torch.float64 and (f >= 0).all()
    nearest = torch.cdist(f[1200:], f[:1200]).argmin(1)
    assert (classes[:1200][nearest] == classes[1200:]).double().mean() > 0.88
    assert "64 units of the last hidden layer" in features.description and "accuracy 9" in features.description
    assert torch.equal(classifier_features(images[:1200], classes[:1200])(images), f)


def test_default_features_without_labels_are_principal_components():
    x = normal(300, 4)
    assert "principal" in default_features(x).description
    assert "principal" in default_features(x, torch.arange(300)).description
    assert "principal" in default_features(x, torch.zeros(300)).description


def test_figures_print_no_digit_beyond_their_error():
    quality = sample_quality(normal(100, 2, seed=1), normal(100, 2), IDENTITY)
    lines = repr(quality).splitlines()
    assert [line.split()[0] for line in lines[:5]] == list(METRICS)
    assert lines[5:] == ["100 samples, 100 data, 5 neighbours", "features: the data themselves"]
    text = format_quality(quality_table({"a": quality})).loc["a", "density"]
    assert text == format_with_error(quality.density, quality.standard_errors["density"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: sample_quality(x, x[:, :1], IDENTITY), "samples and real must agree on the shape of a datum"),
        (lambda x: sample_quality(x[:10], x, IDENTITY), "samples must hold at least 20 rows for 5 neighbours; got 10"),
        (lambda x: sample_quality(x.repeat(2, 1), x, IDENTITY, neighbours=30), "real must hold at least 62 rows"),
        (lambda x: sample_quality(x, x / 0, IDENTITY), "real must be finite"),
        (lambda x: sample_quality(x, x, IDENTITY, neighbours=0), "neighbours must be an integer of at least 1"),
        (lambda x: pca_features(x, num_features=0), "num_features must be an integer of at least 1"),
        (lambda x: pca_features(x[:1]), "train must hold at least 2 data"),
        (lambda x: classifier_features(x, torch.arange(3)), "labels must have one row per datum, 50; got 3"),
        (lambda x: classifier_features(x, torch.zeros(50)), "at least two classes"),
        (
            lambda x: quality_table({"a": sample_quality(x, x, IDENTITY), "b": sample_quality(x[:40], x, IDENTITY)}),
            "num_samples must be the same everywhere",
        ),
        (
            lambda x: quality_differences({"a": (sample_quality(x, x, IDENTITY), sample_quality(x, x, IDENTITY, seed=1))}),
            "seed must be the same everywhere",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(normal(50, 2))


def test_the_fewest_rows_suffice():
    for k in (1, 5, 9, 17, 30):
        x = normal(max(20, 2 * (k + 1)), 2)
        assert sample_quality(x, x, IDENTITY, neighbours=k).halves.isfinite().all()
