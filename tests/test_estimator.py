"""The estimator passes scikit-learn's own checks but for two, and does what the functions of the library do."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
import torch

from inference import LatentVariableModel, encode, evaluate

NOISE = "log p(x) is an estimate, whose noise depends on the place of a row"
SMALL = {"hidden": (8,)}


def test_scikit_learns_own_checks():
    estimator = LatentVariableModel(SMALL, {"epochs": 1}, num_particles=5)
    expected = dict.fromkeys(("check_methods_sample_order_invariance", "check_methods_subset_invariance"), NOISE)
    results = check_estimator(estimator, expected_failed_checks=expected, on_skip=None)
    failed = {result["check_name"]: str(result["exception"]) for result in results if result["status"] == "xfail"}
    assert failed.keys() == expected.keys() and all("score_samples" in reason for reason in failed.values())
    assert sum(result["status"] == "passed" for result in results) > 40


def test_it_is_the_library_that_fits_and_scores():
    x = StandardScaler().fit_transform(load_iris().data).astype(np.float32)
    model = LatentVariableModel(SMALL, {"epochs": 2}, num_particles=30, random_state=3).fit(x)
    rows = torch.from_numpy(x)
    np.testing.assert_array_equal(model.transform(x), encode(model.pair_, rows, means=True).numpy())
    scores = evaluate(model.pair_, rows, num_particles=30, seed=model.seed_, progress=False)
    np.testing.assert_array_equal(model.score_samples(x), scores.log_px.numpy())
    assert model.score(x) == pytest.approx(scores.mean) and len(model.history_) == 2
    assert model.sample(5, random_state=0).shape == (5, 4) and model.inverse_transform(model.transform(x)).shape == x.shape
    assert np.array_equal(model.sample(5, random_state=0), model.sample(5, random_state=0))


def test_codes_go_into_a_pipeline_and_a_search():
    x, y = load_iris(return_X_y=True)
    steps = make_pipeline(StandardScaler(), LatentVariableModel(SMALL, {"epochs": 15, "batch_size": 20}), LogisticRegression())
    search = GridSearchCV(steps, {"latentvariablemodel__model": [{**SMALL, "latent_dim": 2}, {**SMALL, "latent_dim": 3}]}, cv=2).fit(x, y)
    assert search.best_score_ > 0.75  # one class in three


def test_options_are_checked():
    x = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match="model must hold options by name.* got 'hiden'. Did you mean hidden?"):
        LatentVariableModel({"hiden": (8,)}).fit(x)
    with pytest.raises(ValueError, match="valid_fraction must leave rows to train on"):
        LatentVariableModel(valid_fraction=1.0).fit(x)
    with pytest.raises(ValueError, match="its support is"):
        LatentVariableModel({"likelihood": "bernoulli"}).fit(x)
