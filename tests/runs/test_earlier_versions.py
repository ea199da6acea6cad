"""Files written by version 0.1.0, whose code lay elsewhere, still load and give the figures they gave."""

from pathlib import Path
import shutil

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
from shell import contents
import torch

from inference import Evaluation, load_checkpoint, log_weights
from inference.recipes.build import evaluate_pair
from inference.recipes.options import EvaluateOptions
from inference.runs.folders import load_runs, read_history
from inference.runs.kept import kept_expost
from inference.runs.scores import expost_path, run_under
from inference.scripts.cli import main
from pyro_lvm import Pair, check_pair

FOLDER = Path(__file__).parent / "version_0_1"
RUNS = ("standard", "vamp", "flows", "codes", "levels", "topics")
EXPOST = ("gaussian", "mixture", "flow", "two-stage")
SCORE = "test-K30-seed0.nc"
OPTIONS = EvaluateOptions(num_particles=30)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A copy, in which the data are where the runs' options say."""
    copy = Path(shutil.copytree(FOLDER, tmp_path / "runs"))
    monkeypatch.chdir(copy)
    return copy


def same(score: Evaluation, kept: Evaluation) -> None:
    torch.testing.assert_close(score.log_px, kept.log_px, rtol=0, atol=1e-4)
    torch.testing.assert_close(score.ess, kept.ess, rtol=1e-3, atol=1e-3, equal_nan=True)
    names = ("num_particles", "seed", "measure", "data_id", "is_bound", "num_dims", "precision")
    assert [getattr(score, name) for name in names] == [getattr(kept, name) for name in names]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_scores_as_it_did(name, folder):
    run = load_runs({name: folder / name})[name]
    same(evaluate_pair(run.pair, run.data, OPTIONS), Evaluation.from_netcdf(folder / name / SCORE))
    assert len(read_history(folder / name)) == 2


@pytest.mark.parametrize("kind", EXPOST)
def test_a_prior_fitted_after_training_scores_as_it_did(kind, folder):
    run, place = load_runs({"standard": folder / "standard"})["standard"], expost_path(folder / "standard", kind)
    same(evaluate_pair(run_under(run, place, kind).pair, run.data, OPTIONS), Evaluation.from_netcdf(place / SCORE))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_second_stage_is_loaded_whatever_the_random_state(seed, folder):
    run = load_runs({"standard": folder / "standard"})["standard"]
    torch.manual_seed(seed)
    assert kept_expost(run, folder / "standard" / "expost-two-stage", "two-stage", remedy="fitted anew") is not None


def test_kept_priors_serve_a_comparison_and_kept_scores_are_made_anew(folder, capsys):
    """A prior's file holds the weights that it was fitted to; a score's file of version 0.1.0 does not say what it is of."""
    before, kept = contents(folder), {path: Evaluation.from_netcdf(path) for path in folder.rglob("*.nc")}
    command = f"compare {' '.join(RUNS)} --expost {' '.join(EXPOST)} --expost_of standard --baselines false --evaluate.num_particles 30"
    main([*command.split(), "--evaluate.proposal", "guide"])
    printed = capsys.readouterr()
    rows = [*RUNS, "codes~soft", *(f"standard+{kind}" for kind in EXPOST)]
    assert {line.split()[0] for line in printed.out.splitlines() if line.strip()} >= set(rows)
    assert printed.err.count("test-K30-seed0.nc does not say what it comes from") == len(rows) == printed.err.count("; scored anew.")
    for path, score in kept.items():
        if "soft" not in path.parts:  # whose temperature is found again
            same(Evaluation.from_netcdf(path), score)
    after = contents(folder)
    assert {name for name in before if name.endswith(".safetensors") and after[name] != before[name]} == set()

    main([*command.split(), "--evaluate.proposal", "guide"])
    assert "anew" not in capsys.readouterr().err and contents(folder) == after


def test_a_checkpoint_of_two_functions_gives_the_weights_it_had(folder):
    decoder, encoder = torch.nn.Linear(2, 6), torch.nn.Linear(6, 4)

    def model(x):
        pyro.module("decoder", decoder)
        scale = pyro.param("scale", torch.ones(2), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), scale).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    pair, x = Pair(model, guide), torch.from_numpy(np.load("data.npy")).float()
    check_pair(pair, x)
    load_checkpoint(pair, "pair.safetensors")
    expected = torch.from_numpy(np.load("pair_log_weights.npy"))
    torch.testing.assert_close(log_weights(pair, x[:5], num_particles=3, seed=0), expected, rtol=0, atol=1e-5)
