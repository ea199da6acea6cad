"""A checkpoint that is loaded into a new pair, in a process of its own, has the figures of the pair that was saved."""

from contextlib import suppress
import os
from pathlib import Path
import subprocess
import sys
import warnings

import pyro
import pytest
import torch

from inference import fit, log_weights, save_checkpoint
from zoo.entries import SCORED

TESTS = Path(__file__).parent.parent


def save(pair, batch, path):
    """Fit and save a pair, and return its figures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(ValueError):  # the pair has nothing to train
            fit(pair, batch, epochs=1, batch_size=len(batch[0]), learning_rate=0.05, compile=False, progress=False)
        save_checkpoint(pair, path)  # it warns of networks that are not registered
    return log_weights(pair, *batch, num_particles=3, seed=0)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Figures, or the message of an error, by name: those of the saved pairs, and those of the loaded ones."""
    folder, saved = tmp_path_factory.mktemp("checkpoints"), {}
    for name, entry in SCORED.items():
        pyro.clear_param_store()
        pair, batch = entry.pair(), entry.batch()
        try:
            saved[name] = save(pair, batch, folder / f"{name}.safetensors")
        except Exception as error:
            saved[name] = f"{type(error).__name__}: {error}"
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "ignore", "-m", "zoo.loading", str(folder)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path}, cwd=TESTS)
    return saved, torch.load(folder / "figures.pt")


@pytest.mark.parametrize("name", SCORED)
def test_a_loaded_pair_has_the_figures_of_the_saved_one(figures, name):
    """Or it is refused, as networks that are not registered are not part of the file."""
    saved, loaded = (each.get(name) for each in figures)
    if isinstance(loaded, str) and "are not registered" in loaded:
        return
    assert isinstance(saved, torch.Tensor), saved
    assert isinstance(loaded, torch.Tensor), loaded
    assert torch.equal(saved, loaded)
