"""Scores of the rows that a model was fitted to say so, wherever they are shown."""

from copy import deepcopy
from pathlib import Path
import pickle

import pytest
import torch

from inference import Evaluation, compare, evaluate, fit, load_checkpoint, save_checkpoint
from inference.comparison.verdict import verdict
from inference.data.fingerprint import FittedRows
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
    assert train.num_fitted and SENTENCE in repr(train) and "in the population" not in repr(train)
    assert not other.num_fitted and SENTENCE not in repr(other) and "in the population" in repr(other)
    assert evaluate(deepcopy(vae), rows, progress=False).num_fitted
    train.to_netcdf(tmp_path / "train.nc")
    assert Evaluation.from_netcdf(tmp_path / "train.nc").num_fitted == 80
    assert evaluate(vae, rows[torch.randperm(80)], progress=False).num_fitted == 80


def test_a_part_of_them_is_recognized(fitted, tmp_path: Path):
    vae, rows = fitted
    mixed = evaluate(vae, torch.cat([torch.randn(30, 3), rows[5:25].double()]), progress=False)
    assert mixed.num_fitted == 20 and "20 of these 50 rows are among those that the model was fitted to" in repr(mixed)
    assert "partly of rows that own was fitted to" in "".join(verdict(scores := {"own": mixed})) and compare(scores).attrs["fitted"]


def test_a_checkpoint_knows_them_as_a_whole_alone(fitted, tmp_path: Path):
    vae, rows = fitted
    other = deepcopy(vae)
    save_checkpoint(vae, tmp_path / "pair.safetensors")
    load_checkpoint(other, tmp_path / "pair.safetensors")
    pickled = pickle.loads(pickle.dumps(vae))
    for pair in (other, pickled):
        assert evaluate(pair, rows.flip(0), num_particles=5, progress=False).num_fitted == 80
        assert evaluate(pair, rows[:40], num_particles=5, progress=False).num_fitted == 0


@pytest.mark.parametrize("size", [40, 4000])
def test_rows_that_equal_them_by_chance_are_other_rows(size):
    draw = torch.distributions.Bernoulli(torch.linspace(0.05, 0.5, 8)).expand((400, 8)).sample
    torch.manual_seed(0)
    counts = [FittedRows.of(draw()).count(*rows) for rows in [(torch.cat([draw() for _ in range(10)])[:size],) for _ in range(20)]]
    assert counts == [0] * 20
    own = draw()
    assert FittedRows.of(own).count(own.flip(0)) == 400
    x, y = torch.randn(400, 2), torch.arange(400)
    assert FittedRows.of(x, y).count(x[:3], y[:3]) == 3 and FittedRows.of(x, y).count(x, y.flip(0)) == 0


def test_comparisons_and_verdicts_name_them(fitted):
    vae, rows = fitted
    scores = {"own": evaluate(vae, rows, progress=False), "again": evaluate(vae, rows, num_particles=50, progress=False)}
    assert any(f"own, again: {SENTENCE}" in note or f"again, own: {SENTENCE}" in note for note in compare(scores).attrs["notes"])
    assert any("were fitted to, where more flexible models score higher" in sentence for sentence in verdict(scores))
