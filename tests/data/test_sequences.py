"""Sequences of different lengths: how they are padded and masked, and that padding changes no score."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from splits import SPLITS
import torch

from inference import evaluate, fit
from inference.data.load import load_data
from inference.recipes.build import build_pair
from inference.recipes.options import DataOptions, Recipe

RNG = np.random.default_rng(0)
SEQUENCES = [RNG.normal(size=(RNG.integers(2, 7), 2)).astype(np.float32) for _ in range(40)]
LENGTHS = np.array([len(sequence) for sequence in SEQUENCES])


def padded(length: int, value: float) -> np.ndarray:
    array = np.full((len(SEQUENCES), length, 2), value, np.float32)
    for row, sequence in zip(array, SEQUENCES, strict=True):
        row[: len(sequence)] = sequence
    return array


def deep_markov():
    path = Path(__file__).parents[2] / "docs/examples/deep_markov.py"
    spec = importlib.util.spec_from_file_location("deep_markov", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lists_and_padded_arrays_are_the_same_data(tmp_path):
    np.savez(tmp_path / "s.npz", sequences=padded(9, 7.0), lengths=LENGTHS, group=np.arange(40) % 3)
    data, others = load_data(SEQUENCES), load_data(tmp_path / "s.npz", condition="group")
    assert list(data.given) == ["mask"] and list(others.given) == ["group", "mask"]
    for split in SPLITS:
        x, mask = data.batch(split)
        assert x.shape[1:] == (6, 2) and mask.shape == x.shape[:2] and (x[mask == 0] == 0).all()
        assert torch.equal(others.batch(split)[0], x) and torch.equal(others.batch(split)[2], mask)
    rows = {array.tobytes() for array in SEQUENCES}
    assert all(x[mask == 1].numpy().tobytes() in rows for x, mask in zip(*data.batch("train"), strict=True))


def test_padding_changes_no_score():
    data, module = load_data(SEQUENCES, test_fraction=0.25), deep_markov()
    torch.manual_seed(0)
    pair = module.make_pair(data, hidden=8, linear=True)
    fit(pair, data, epochs=60, learning_rate=1e-2, progress=False)
    x, mask = (each.double() for each in data.batch("test"))
    more = (torch.cat([x, 5 + x[:, :3]], 1), torch.cat([mask, 0 * mask[:, :3]], 1))
    short, long = (evaluate(pair.double(), batch, num_particles=200, proposal="guide", progress=False) for batch in ((x, mask), more))
    torch.testing.assert_close(short.log_px, long.log_px, rtol=0, atol=1e-9)
    each = [module.kalman_filter(pair, row[None, known == 1])[0] for row, known in zip(x, mask, strict=True)]  # of each without padding
    assert ((short.log_px - torch.tensor(each)).abs() <= 5 * short.mc_error).all()


def test_lengths_that_cannot_be_are_refused(tmp_path):
    for lengths, message in ((LENGTHS[1:], "got shape"), (LENGTHS - 2, "from 0 to"), (LENGTHS + 0.5, "lengths must be a whole number")):
        np.savez(tmp_path / "s.npz", sequences=padded(6, 0.0), lengths=lengths)
        with pytest.raises(ValueError, match=message):
            load_data(tmp_path / "s.npz")
    for wrong in ([], [SEQUENCES[0], SEQUENCES[0][:, :1]]):
        with pytest.raises(ValueError, match="a list of sequences must hold arrays"):
            load_data(wrong)


def test_models_made_of_parts_do_not_take_padding_for_data(tmp_path):
    np.savez(tmp_path / "s.npz", sequences=padded(6, 0.0), lengths=LENGTHS)
    recipe = Recipe(data=DataOptions(source=str(tmp_path / "s.npz")))
    with pytest.raises(ValueError, match="made of parts has no masks"):
        build_pair(recipe, load_data(tmp_path / "s.npz"))
