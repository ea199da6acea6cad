"""Every page of docs/how-to runs from top to bottom, in an empty folder.

A ``python`` block is executed, all of a page in one namespace; one that begins with ``# NAME.py`` is the file of that name instead. The
lines of a ``console`` block that begin with ``$ pyro-lvm`` or ``$ torchrun`` are commands, run in this process. To be quick, fits have a
hundredth of the epochs that a page asks for, scores from the shell a tenth of the draws, or 20; comparisons of the default priors have two
of these and one yardstick, sweeps no seed 2, and what a GPU does is done here. Of a report, only the options are read, as tests/report
draws some. A ``py`` block needs what tests do not have, a network or another library: of it, only the names of ours are looked up.
"""

import ast
from collections.abc import Iterator
import importlib
from pathlib import Path
import re
import shlex
import sys

import pytest
import torch
from torch import nn

from inference.recipes.registries import PRIORS
from inference.runs import sweep as sweeps
from inference.scripts.cli import main
from inference.scripts.parsing import parse
import pyro_lvm as lvm

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path for path in (ROOT / "docs" / "how-to").glob("*.md") if path.stem != "index")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
EPOCHS = re.compile(r"""(epochs(?:=|": ))(\d+)""")
DRAWS = dict.fromkeys(("compare", "sweep"), "--evaluate.num_particles") | {"evaluate": "--num_particles"}


def commands(block: str) -> Iterator[list[str]]:
    """The words of each command of pyro-lvm in a console block."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ["$", "pyro-lvm"]:
            yield words[2:]
        elif "torchrun" in words:
            yield words[words.index("inference.scripts") + 1 :]


def smaller(words: list[str]) -> list[str]:
    """A command with few epochs and draws, on this machine."""
    command, *options = words
    trains = command in ("train", "sweep") or (command == "compare" and options[0].startswith("--"))
    if trains and not {"--fit.epochs", "--resume"} & set(options):
        options += ["--fit.epochs", "300"]
    if trains and command != "train":
        options += ["--baselines", "independent-columns"]
    if trains and command == "compare":
        options += [] if "--priors" in options else ["--priors", "standard,vamp"]
    if command == "sweep":
        options = [option for option in options if option != "2"]
    if command in DRAWS and DRAWS[command] not in options and "ais" not in options:
        options += [DRAWS[command], "200"]
    for place, option in enumerate(options[:-1]):
        if option == "--fit.epochs":
            options[place + 1] = few(options[place + 1])
        elif option == DRAWS.get(command):
            options[place + 1] = str(int(options[place + 1]) // 10)
        elif option == "--device":
            options[place + 1] = "cpu"
    return [command, *options]


def few(epochs: str) -> str:
    return str(max(1, int(epochs) // 100))


def run(words: list[str]) -> None:
    if words[0] == "report":
        folders = parse("report", "", words[1:]).runs
        assert all(Path(folder).is_dir() for folder in folders)
    else:
        main(smaller(words))


def in_this_process(jobs, commands_of, folder, **_):
    for job in jobs:
        for words in commands_of(job):
            main(words)
    return {}


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, whose modules and parts are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    parts, modules = set(PRIORS), set(sys.modules)
    yield tmp_path
    for name in set(PRIORS) - parts:
        PRIORS.forget(name)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs(page: Path, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "run_jobs", in_this_process)
    scope: dict[str, object] = {}
    for kind, block in BLOCK.findall(page.read_text()):
        name = re.match(r"# (\w+\.py)\n", block)
        if kind == "python" and name:
            (empty_folder / name[1]).write_text(block)
        elif kind == "python":
            exec(compile(EPOCHS.sub(lambda found: found[1] + few(found[2]), block), page.name, "exec"), scope)
        elif kind == "console":
            for words in commands(block):
                run(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_only_shown_uses_names_that_exist(page: Path) -> None:
    for kind, block in BLOCK.findall(page.read_text()):
        assert kind in ("python", "py", "console", "bash", "text", "yaml", "bibtex"), kind
        for node in ast.walk(ast.parse(block if kind == "py" else "")):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("pyro_lvm", "inference")):
                assert all(hasattr(importlib.import_module(node.module), name.name) for name in node.names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert text.startswith("# ") and len(text.splitlines()) <= 100
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target


class Output(dict):
    """What pythae's networks return: values by key and by attribute."""

    __getattr__ = dict.__getitem__


def test_networks_as_pythae_has_them_keep_their_densities() -> None:
    scope: dict[str, type[nn.Module]] = {}
    page = (ROOT / "docs" / "how-to" / "from-pythae.md").read_text()
    exec([block for kind, block in BLOCK.findall(page) if kind == "python"][1], scope)
    loc, log_variance, x = torch.randn(3, 5, 2).unbind()
    posterior = lvm.NormalEncoder(scope["PythaeEncoder"](lambda _: Output(embedding=loc, log_covariance=log_variance)))(x)
    torch.testing.assert_close(posterior.mean, loc)
    torch.testing.assert_close(posterior.variance, log_variance.exp())
    decoder = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid())
    z = torch.randn(7, 5, 2)  # [K, B, D]
    data = lvm.BernoulliLikelihood(scope["PythaeDecoder"](lambda rows: Output(reconstruction=decoder(rows))))(z)
    torch.testing.assert_close(data.mean, decoder(z))
