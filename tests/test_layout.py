"""What holds the repository together: imports point one way, the public API is documented, its examples run."""

import ast
import doctest
import importlib
import inspect
from pathlib import Path
import re
import sys

import pytest

import inference
import pyro_lvm

ROOT = Path(__file__).resolve().parent.parent
FLOORS = """
pyro_lvm: checks rows arrays sites scopes pair modules dtypes reading structure gradients shapes refusals contract distributions networks \
priors likelihoods encoders models testing
inference: registry numerics processes formatting markup files drawing data densities tracing checkpoint svi predictive scoring new_rows \
diagnostics expost yardsticks comparison plots recipes estimator runs report scripts
"""  # a file or folder imports only from those before it; pyro_lvm imports nothing from inference
ORDER = [f"{line.split(':')[0]}.{name}" for line in FLOORS.strip().splitlines() for name in line.split(":")[1].split()]
SOURCES = sorted([*(ROOT / "pyro_lvm").rglob("*.py"), *(ROOT / "inference").rglob("*.py")])
PUBLIC = [(package, name) for package in (pyro_lvm, inference) for name in package.__all__]


def imported(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def floor(module):
    """The place in the order of the file or folder that a module is or lies in, or None."""
    name = ".".join(module.split(".")[:2])
    return ORDER.index(name) if name in ORDER else None


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_run_downwards(path):
    own = floor(module_of(path))
    for other in imported(path):
        if own is not None and other and other.startswith(("pyro_lvm", "inference")):
            place = ORDER.index("pyro_lvm.models") if other == "pyro_lvm" else floor(other)  # the package itself has all of its files
            assert place is not None, f"{other}: import from the module itself"
            assert place < own or floor(other) == own, other


def test_every_file_and_folder_has_its_place_in_the_order():
    assert set(ORDER) == {".".join(module_of(path).split(".")[:2]) for path in SOURCES} - {"pyro_lvm", "inference"}


def test_every_folder_is_a_package_and_so_is_in_the_wheel():
    assert not [folder for folder in {path.parent for path in SOURCES} if not (folder / "__init__.py").is_file()]


def test_files_and_folders_are_small_and_told_apart():
    folders = {}
    for path in SOURCES:
        lines = len(path.read_text().splitlines())
        assert lines <= 320, f"{path} has {lines} lines, more than 320. Split it by subject."
        folders.setdefault(path.parent, []).append(path.stem)
    for folder, stems in folders.items():
        assert len(stems) <= 14, f"{folder} has {len(stems)} files, more than 14. Use a file of that subject, or make a folder."
        for stem in stems:
            twins = [other for other in stems if other != stem and other.startswith(stem)]
            assert not twins, f"{folder}: {stem} and {twins} begin alike. Rename one of them."


def test_no_function_hides_a_module():
    names = {name for package in (pyro_lvm, inference) for name in package.__all__}
    for path in SOURCES:
        module = importlib.import_module(module_of(path))
        assert module.__name__.rpartition(".")[2] not in names, path
        parent, _, name = module.__name__.rpartition(".")
        assert not parent or getattr(importlib.import_module(parent), name) is module


def test_scripts_are_short():
    folder = ROOT / "inference" / "scripts"
    for path in (*folder.glob("*.py"), *(folder / "commands").glob("*.py")):
        assert len(path.read_text().splitlines()) < 120, path


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=[name for _, name in PUBLIC])
def test_everything_public_says_what_it_is(package, name):
    thing = getattr(package, name)
    assert len((inspect.getdoc(thing) or "").split()) > 5
    if inspect.isfunction(thing) and len(inspect.signature(thing).parameters) > 1:
        for parameter in inspect.signature(thing).parameters:
            assert re.search(rf"^\s*\*?{parameter}:", inspect.getdoc(thing), re.M), parameter


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_references_in_docstrings_resolve(path):
    module = importlib.import_module(module_of(path))
    for name in re.findall(r":(?:class|func|meth|mod|attr|data):`(?:[^`<]*<)?~?([\w.]+)>?`", path.read_text()):
        assert resolves(name, module), f"{path}: {name}"


def resolves(name, module):
    """Whether a dotted name is one of a module, of a class in it, or of an importable package."""
    head, *rest = name.split(".")
    if head in ("pyro_lvm", "inference"):
        while rest and f"{head}.{rest[0]}" in sys.modules:
            head = f"{head}.{rest.pop(0)}"
        starts = [sys.modules[head]]
    else:
        classes = [thing for thing in vars(module).values() if inspect.isclass(thing)]
        starts, rest = [thing for thing in (module, *classes) if hasattr(thing, head)], name.split(".")
    for thing in starts:
        for part in rest:
            thing = getattr(thing, part, None) or getattr(thing, "__annotations__", {}).get(part)
        if thing is not None:
            return True
    return False


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_docstring_examples_run(path):
    module = importlib.import_module(module_of(path))
    assert doctest.testmod(module).failed == 0
