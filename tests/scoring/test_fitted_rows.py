"""Scores of the rows that a model was fitted to say so, wherever they are shown."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch

from inference import Evaluation, compare, evaluate, fit
from inference.comparison.verdict import verdict
import pyro_lvm as lvm

SENTENCE = "these are the rows that the model was fitted to"


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    vae = lvm.VAE(lvm.StandardNormal(2), lvm.GaussianLikelihood(lvm.MLP(2, [8], 3)), lvm.NormalEncoder(lvm.MLP(3, [8], 4)))
    rows = torch.randn(80, 3)
    fit(vae, rows, valid=torch.randn(20, 3), epochs=1, progress=False)
    return vae, rows


def test_they_are_recognized(fitted, tmp_path: Path):
    vae, rows = fitted
    train, other = evaluate(vae, rows, progress=False), evaluate(vae, torch.randn(80, 3), progress=False)
    assert train.is_fitted and SENTENCE in repr(train) and "in the population" not in repr(train)
    assert not other.is_fitted and SENTENCE not in repr(other) and "in the population" in repr(other)
    assert evaluate(deepcopy(vae), rows, progress=False).is_fitted
    train.to_netcdf(tmp_path / "train.nc")
    assert Evaluation.from_netcdf(tmp_path / "train.nc").is_fitted


def test_comparisons_and_verdicts_name_them(fitted):
    vae, rows = fitted
    scores = {"own": evaluate(vae, rows, progress=False), "again": evaluate(vae, rows, num_particles=50, progress=False)}
    assert any("scores of the rows that the model was fitted to" in note for note in compare(scores).attrs["notes"])
    assert any("were fitted to, where more flexible models score higher" in sentence for sentence in verdict(scores))
