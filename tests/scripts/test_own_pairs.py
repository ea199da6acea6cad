"""Pairs and parts in files of the user's own: every command takes them, runs keep them, errors name their line."""

from collections.abc import Iterator
import os
from pathlib import Path
import re
import shutil

import pytest
from shell import SMALL, refusal, say

from inference import load_run
from inference.recipes import user_code
from inference.recipes.registries import PRIORS
from inference.scripts.cli import main

NETS = """
from torch import nn

def net(n, m):
    return nn.Linear(n, m)
"""
MODELS = """
import pyro
import pyro.distributions as dist
from pyro.infer.autoguide import AutoNormal
import torch
from torch import nn

import pyro_lvm as lvm
from nets import net


def functions(data, latent_dim: int = 2, *, scale: float = 1.0):
    D = data.train.shape[1]
    decoder, encoder = net(latent_dim, D), net(D, 2 * latent_dim)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(latent_dim), scale).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return lvm.Pair(model, guide)


class Mine(nn.Module):
    def __init__(self, D):
        super().__init__()
        self.decoder, self.encoder = net(2, D), net(D, 4)

    def model(self, x):
        pyro.module("mine", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("mine", self)
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def a_class(data):
    return Mine(data.train.shape[1])


def auto(data):
    D = data.train.shape[1]

    def model(x):
        weight, bias = pyro.param("weight", 0.1 * torch.ones(2, D)), pyro.param("bias", torch.zeros(D))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z @ weight + bias).to_event(1), obs=x)

    return lvm.Pair(model, AutoNormal(model))


def broken(data):
    return 1 / 0


def no_pair(data):
    return 3


def too_late(data):
    pair = a_class(data)
    decode = pair.decoder.forward
    pair.decoder.forward = lambda z: decode(z) if len(z) < 3 else wrong(z)
    return pair


def wrong(z):
    raise KeyError("no such key")
"""
PARTS = """
from jsonargparse.typing import PositiveFloat, PositiveInt
import pyro.distributions as dist
import torch
from torch import nn

from inference.recipes.registries import PRIORS


class WidePrior(nn.Module):
    def __init__(self, latent_dim, width):
        super().__init__()
        self.latent_dim = latent_dim
        self.log_scale = nn.Parameter(torch.tensor(float(width)).log())

    def forward(self):
        return dist.Normal(torch.zeros(self.latent_dim), self.log_scale.exp()).to_event(1)


@PRIORS.register("wide")
def wide(*, latent_dim: PositiveInt = 8, width: PositiveFloat = 2.0):
    return WidePrior(latent_dim, width)
"""
FIT = "--fit.epochs 2 --fit.batch_size 200"


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    """Parts that files register here are unknown to other tests."""
    before = set(PRIORS)
    yield
    for name in set(PRIORS) - before:
        PRIORS.forget(name)
    user_code._LOADED.clear()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the user's files, and a run of each of them whose files are then removed."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in {"nets": NETS, "my_models": MODELS, "my_parts": PARTS}.items():
        (folder / f"{name}.py").write_text(text)
    for name, options in {
        "functions": "--pair.latent_dim 3",
        "a_class": "",
        "auto": "",
    }.items():
        main(f"train --pair {folder}/my_models.py:{name} {options} --out {folder}/{name} {FIT}".split())
    main(f"train --plugin {folder}/my_parts.py --model.prior wide --model.width 3 --out {folder}/wide {SMALL}".split())
    moved = tmp_path_factory.mktemp("elsewhere")
    for name in ("functions", "a_class", "auto", "wide"):
        shutil.move(folder / name, moved / name)
    shutil.rmtree(folder)
    return moved


def test_every_command_takes_runs_of_ones_own(place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = ("functions", "a_class", "wide")
    runs = [shutil.copytree(place / name, tmp_path / name) for name in names]
    assert "log p(x)" in say(capsys, "evaluate {} --num_particles 20", runs[0])
    table = say(capsys, "compare {} {} {} --baselines false --evaluate.num_particles 20 --expost gaussian --expost_of {}", *runs, runs[0])
    assert all(str(run) in table for run in runs) and f"{runs[0]}+gaussian" in table
    again = say(capsys, "compare {} {} {} --baselines false --evaluate.num_particles 20 --expost gaussian --expost_of {}", *runs, runs[0])
    assert "fitted to" in table and "fitted to" not in again
    assert "diagnosis.csv" in say(capsys, "diagnose {} {} --num_draws 100", *runs[:2])
    assert "samples" in say(capsys, "sample {} --num_draws 3", runs[0])
    say(capsys, "report {} {} {} --baselines false --evaluate.num_particles 20 --out {}", *runs, tmp_path / "page")
    assert (tmp_path / "page" / "report.html").is_file()


def test_a_run_of_ones_own_says_what_it_is(place: Path) -> None:
    run = load_run(place / "functions")
    assert run.recipe.pair == {"source": str(run.recipe.pair["source"]), "latent_dim": 3, "scale": 1.0}
    assert run.summary["num_parameters"] == 3 * 64 + 64 + 64 * 6 + 6
    assert sorted(path.name for path in (place / "functions" / "user_code").iterdir()) == ["my_models.py", "nets.py"]
    assert load_run(place / "wide").pair.prior.log_scale.exp().item() == pytest.approx(3, rel=0.05)


def test_parameters_of_rows_are_scored_on_these_rows_alone(place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = shutil.copytree(place / "auto", tmp_path / "auto")
    assert "1197 data" in say(capsys, "evaluate {} --split train --num_particles 10", run)
    for command in ("evaluate {} --num_particles 10", "diagnose {}", "report {}"):
        assert "belong to the rows of" in refusal(capsys, command, run)
    options = "--baselines false --evaluate.split train --evaluate.num_particles 10"
    say(capsys, f"report {{}} {{}} {options} --out {{}}", run, place / "functions", tmp_path / "page")
    page = (tmp_path / "page" / "report.html").read_text()
    assert page.count("no other data can be encoded: auto.") == 2 and "reconstructions.png" in os.listdir(tmp_path / "page")
    said = say(capsys, "sample {} --split train --num_draws 3", run)
    assert re.search(r"samples +\(3, 64\)\n.*\n.*\ncodes +\(1197, 2\)", said)
    assert load_run(run).summary["batch_size"] == 1197


def test_a_changed_copy_is_named(place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = shutil.copytree(place / "functions", tmp_path / "functions")
    (run / "user_code" / "nets.py").write_text(NETS + "\n# another\n")
    assert "user_code/nets.py is damaged: it is not as the run wrote it" in refusal(capsys, "evaluate {} --num_particles 10", run)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--pair {}/my_models.py:broken", "my_models.py, line 66: ZeroDivisionError: division by zero"),
        ("--pair {}/my_models.py:no_pair", "a pair has callable .model and .guide; got int"),
        ("--pair {}/my_models.py:too_late", "my_models.py, line 81: KeyError: 'no such key'"),
        (
            "--pair {}/my_models.py:nothing",
            "must have a function nothing; it has functions, a_class, auto, broken",
        ),
        ("--pair {}/my_models.py", "must be given as FILE.py:FUNCTION"),
        ("--pair {}/nowhere.py:f", "nowhere.py must be a Python file"),
        ("--pair {}/wrong.py:f", "wrong.py, line 2: SyntaxError"),
        ("--pair {}/my_models.py:functions --pair.latent 3", "Did you mean --pair.latent_dim?"),
        ("--pair {}/my_models.py:functions --pair.latent_dim x", "pair.latent_dim"),
        ("--pair {}/my_models.py:functions --model.hidden 3", "--model.hidden has no effect here"),
        ("--plugin {}/nowhere.py", "nowhere.py must be a Python file"),
        ("--model.prior standard --model.num_codes 3", "--model.num_codes has no effect here: it is an option of encoder vq and"),
    ],
)
def test_errors_in_ones_own_files_are_short(words: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, text in {"nets": NETS, "my_models": MODELS, "wrong": "\ndef f(:\n"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert message in refusal(capsys, f"train {words} --out {{}}", *[tmp_path] * words.count("{}"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_page_on_models_of_ones_own_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "own_models.md").read_text()
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        (tmp_path / block.splitlines()[0].removeprefix("# ")).write_text(block)
    commands = re.findall(r"^\$ pyro-lvm (.*)$", page, re.M)
    scored = "--baselines false --evaluate.num_particles 5"
    tiny = {"train": FIT, "sweep": f"{FIT} {scored}", "report": scored}
    for command in commands:
        if command.startswith("train") or "runs/mine" in command:
            say(capsys, f"{command} {tiny.get(command.split()[0], '--evaluate.num_particles 5')}")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()) == ["mine", "scaled", "standard"]
    assert load_run("runs/scaled").pair.prior.log_scale.shape == (8,) and load_run("runs/mine").recipe.pair["latent_dim"] == 4
