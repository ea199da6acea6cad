"""What could make a loaded run another model than the trained one: shared modules, changed files, types, noise, data changed in place."""

from pathlib import Path
import random

import numpy as np
import pytest
from shell import refusal, say

from inference import load_run

FIT = "--fit.epochs 2 --fit.batch_size 200"
HEAD = """
import random
from typing import Literal
import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import nn
import pyro_lvm as lvm


def build(data, scale=1.0, networks=None, latent=dist.Normal, start=0.0):
    D = data.train.shape[1]
    decoder, encoder = networks or (nn.Linear(2, D), nn.Linear(D, 4))

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", latent(torch.zeros(2), float(scale)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", latent(loc, log_scale.exp()).to_event(1))

    return lvm.Pair(model, guide)
"""
BODY = """
NETWORKS = nn.Linear(2, 64), nn.Linear(64, 4)


def typed(data, wide: Literal["on", "off"] = "on", size: str = "1", widths: tuple[int, ...] = (3, 4)):
    assert isinstance(widths, tuple) and isinstance(size, str)
    return build(data, 3.0 if wide == "on" else 1.0)


def of_module(data):
    return build(data, networks=NETWORKS)


def noisy(data):
    return build(data, scale=np.random.rand() + random.random())


def in_place(data):
    data.test.mul_(0)
    return build(data)


def positive(data):
    return build(data, latent=dist.LogNormal)


def changing(data):
    return build(data, scale=1.0)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(HEAD + BODY)
    return tmp_path / "mine.py"


def trained(capsys: pytest.CaptureFixture[str], file: Path, name: str, run: str, options: str = "") -> Path:
    say(capsys, f"train --pair {file}:{name} --out {file.parent / run} {FIT} {options}")
    return file.parent / run


def test_options_keep_their_types(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(trained(capsys, file, "typed", "typed"))
    assert run.recipe.pair == {"source": "mine.py:typed", "wide": "on", "size": "1", "widths": (3, 4)}


def test_runs_share_no_networks_of_a_module(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [load_run(trained(capsys, file, "of_module", f"seed{seed}", f"--model.seed {seed}")) for seed in (0, 1)]
    weights = [next(iter(run.pair.param_store.values())) for run in runs]
    assert weights[0] is not weights[1] and not weights[0].equal(weights[1])


def test_noise_of_numpy_and_python_follows_the_seed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    states = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    run = trained(capsys, file, "noisy", "noisy")
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    load_run(run)  # which compares log weights with those of the trained pair
    random.setstate(states[0])
    assert len(states[1])


def test_a_pair_that_is_built_otherwise_is_refused(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(capsys, file, "noisy", "noisy")
    monkeypatch.setattr("inference.recipes.own_pairs.np.random.seed", lambda seed: None)
    monkeypatch.setattr("inference.recipes.own_pairs.random.seed", lambda seed: None)
    assert "is not the one that was trained" in refusal(capsys, "evaluate {} --num_particles 5", run)


def test_data_are_not_to_be_changed_in_place(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "must not change the data in place" in refusal(capsys, f"train --pair {file}:in_place --out {file.parent / 'run'} {FIT}")


def test_a_prior_on_the_whole_space_is_not_fitted_to_positive_latents(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(capsys, file, "positive", "positive")
    assert "the latent z on GreaterThan" in refusal(
        capsys, "compare {} --expost gaussian --baselines false --evaluate.num_particles 5", run
    )


def test_what_has_changed_does_not_go_on_and_is_no_fit_of_the_same_recipe(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = trained(capsys, file, "changing", "run-seed0")
    file.write_text((HEAD + BODY).replace("scale=1.0)", "scale=3.0)"))
    second = trained(capsys, file, "changing", "run-seed1", "--fit.seed 1 --model.seed 1")
    assert "fits" not in say(capsys, "compare {} {} --baselines false --evaluate.num_particles 5", first, second).splitlines()[0]
    more = f"--pair {file}:changing --fit.epochs 3 --fit.batch_size 200"
    assert "mine.py has changed since" in refusal(capsys, f"train --resume {more} --out {{}}", first)
    file.unlink()
    say(capsys, "train --resume --fit.epochs 3 --out {}", first)  # with the kept file
    assert len(load_run(first).history) == 3 and "scale=1.0)" in (first / "user_code" / "mine.py").read_text()


def test_two_files_of_one_name_are_refused_before_training(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file.parent / "other").mkdir()
    other = file.parent / "other" / "mine.py"
    other.write_text("X = 1")
    words = f"train --pair {file}:changing --plugin {other} --out {file.parent / 'run'} {FIT}"
    assert "two are called mine.py" in refusal(capsys, words)


def test_compare_trains_priors_and_no_pair(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--pair is of train and sweep" in refusal(capsys, f"compare --pair {file}:changing")


def test_code_that_the_run_has_not_written_is_not_run(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(capsys, file, "changing", "run")
    (run / "user_code" / "evil.py").write_text("raise SystemExit(3)")
    assert "evil.py must be a file that the run has written" in refusal(capsys, "evaluate {} --num_particles 5", run)
    (run / "user_code" / "evil.py").unlink()
    (run / "user_code" / "mine.py").rename(run / "mine.py")
    (run / "user_code" / "mine.py").symlink_to(run / "mine.py")
    assert "must be a file that the run has written" in refusal(capsys, "evaluate {} --num_particles 5", run)


def test_a_file_that_needs_data_beside_it_is_refused_before_the_fit(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(file.parent / "scale.npy", np.ones(1))
    file.write_text(HEAD + "from pathlib import Path\nSCALE = np.load(Path(__file__).parent / 'scale.npy')\n" + BODY)
    refused = refusal(capsys, f"train --pair {file}:changing --out {file.parent / 'run'} {FIT}")
    assert "the copy that a run keeps of mine.py must run alone" in refused and "scale.npy" in refused
