"""What holds the repository together: imports point one way, the public API is documented, its examples run."""

import ast
import doctest
import importlib
import inspect
from pathlib import Path
import re

import pytest

import inference
import pyro_lvm

ROOT = Path(__file__).resolve().parent.parent
LAYERS = [
    {"networks", "inputs", "distributions", "bernoulli", "discretized", "univariate", "manifolds", "code_distributions", "pair"},
    {"contract", "flows", "grids", "priors", "code_priors", "nongaussian", "likelihoods", "encoders", "quantization", "relaxed", "fsq", "soft_codes"},
    {"levels"},
    {"models"},
    {"hierarchical", "vqvae"},
]
APPLICATION = {"mending", "recipes", "recipe_parts", "code_recipes", "runs", "run_scores", "pictures"}
# A prior fitted to codes is a part of a model, still no model.
PARTS = {"expost": {"pyro_lvm.distributions", "pyro_lvm.flows", "pyro_lvm.priors"}}
PUBLIC = [(package, name) for package in (pyro_lvm, inference) for name in package.__all__]


def imported(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_pyro_lvm_imports_nothing_from_inference_and_layers_point_down():
    rank = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    for path in (ROOT / "pyro_lvm").glob("*.py"):
        if path.stem == "__init__":
            continue
        own = [module.split(".")[1] for module in imported(path) if module and module.startswith("pyro_lvm.")]
        assert not [module for module in imported(path) if module and module.startswith("inference")], path
        assert all(rank[name] <= rank[path.stem] for name in own), path


def test_inference_knows_no_concrete_model():
    """Only what serves the scripts builds and names models; the engine sees pairs."""
    for path in (ROOT / "inference").glob("*.py"):
        used = {module for module in imported(path) if module and module.startswith("pyro_lvm")}
        assert path.stem in APPLICATION or used <= {"pyro_lvm.pair", "pyro_lvm.contract", "pyro_lvm.distributions"} | PARTS.get(path.stem, set()), path


def test_scripts_are_short():
    for path in (ROOT / "inference" / "scripts").glob("*.py"):
        assert len(path.read_text().splitlines()) < 120, path


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=[name for _, name in PUBLIC])
def test_everything_public_says_what_it_is(package, name):
    thing = getattr(package, name)
    assert len((inspect.getdoc(thing) or "").split()) > 5
    if inspect.isfunction(thing) and len(inspect.signature(thing).parameters) > 1:
        for parameter in inspect.signature(thing).parameters:
            assert re.search(rf"^\s*\*?{parameter}:", inspect.getdoc(thing), re.M), parameter


@pytest.mark.parametrize("path", sorted([*(ROOT / "pyro_lvm").glob("*.py"), *(ROOT / "inference").glob("*.py")]), ids=lambda p: p.stem)
def test_docstring_examples_run(path):
    module = importlib.import_module(f"{path.parent.name}.{path.stem}".removesuffix(".__init__"))
    assert doctest.testmod(module).failed == 0


def test_the_readme_runs(tmp_path, monkeypatch):
    """All python blocks of the README, one after the other."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(blocks) >= 3
    scope = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
