"""Fits beside each other: recipes among them, sweeps, and what is said of those that have not converged."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from oracles import LinearGaussian
import pytest
import torch

from inference import evaluate
from inference.files import write_yaml
from inference.recipes.options import Recipe
from inference.runs.fits import compare_fits, fit_cautions, group_fits, with_sweeps


def grouped(*fits: tuple[str, str, int]) -> dict[str, list[str]] | None:
    """Groups of fits given as names, priors and seeds; the folders are those without a suffix."""
    runs = {}
    for name, prior, seed in fits:
        recipe = Recipe()
        recipe = replace(recipe, model=replace(recipe.model, prior=prior, seed=seed), fit=replace(recipe.fit, seed=seed))
        runs[name] = SimpleNamespace(recipe=recipe)
    return group_fits({name: Path(name) for name in runs if "+" not in name}, runs)


def test_fits_that_differ_in_nothing_but_seeds_are_of_one_recipe():
    sweep = [(f"{prior}-seed{seed}", prior, seed) for seed in (2, 0, 10) for prior in ("vamp", "standard")]
    expected = {prior: [f"{prior}-seed{seed}" for seed in (0, 2, 10)] for prior in ("vamp", "standard")}
    assert grouped(*sweep) == expected
    rows = [(f"{name}+flow", prior, seed) for name, prior, seed in sweep]
    assert grouped(*sweep, *rows) == expected | {f"{name}+flow": [f"{fit}+flow" for fit in fits] for name, fits in expected.items()}


def test_names_of_recipes():
    assert grouped(("runs/a/seed0", "vamp", 0), ("runs/a/seed1", "vamp", 1), ("b", "standard", 0)) == {
        "runs/a": ["runs/a/seed0", "runs/a/seed1"],
        "b": ["b"],
    }
    assert grouped(("one", "vamp", 0), ("two", "vamp", 1)) == {"one, ...": ["one", "two"]}
    alike = [(f"seed{seed}/{prior}", prior, seed) for seed in (0, 1) for prior in ("vamp", "standard")]
    assert grouped(*alike) == {f"seed0/{prior}, ...": [f"seed0/{prior}", f"seed1/{prior}"] for prior in ("vamp", "standard")}


def test_recipes_are_compared_before_their_fits():
    runs = {name: SimpleNamespace(recipe=Recipe(model=replace(Recipe().model, seed=seed))) for seed, name in enumerate(("a0", "a1"))}
    scores = {name: evaluate(LinearGaussian(2, 1), torch.ones(9, 2), num_particles=2, seed=0, progress=False) for name in runs}
    folders = {name: Path(name) for name in runs}
    recipes, fits = compare_fits(folders, runs, scores)
    assert list(recipes.index) == ["a"] and recipes["fits"].tolist() == [2] and set(fits.index) == {"a0", "a1"}
    (fits,) = compare_fits(folders, {"a0": runs["a0"]}, {"a0": scores["a0"]})
    assert list(fits.index) == ["a0"]


def test_copies_of_a_fit_are_no_scatter_over_seeds():
    assert grouped(("a", "vamp", 0), ("copy", "vamp", 0)) is None
    assert grouped(("a", "vamp", 0), ("b", "standard", 1)) is None
    assert grouped(("a0", "vamp", 0), ("a1", "vamp", 1), ("copy", "vamp", 0)) == {"a": ["a0", "a1"], "copy": ["copy"]}


def test_a_sweep_stands_for_its_finished_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    write_yaml(sweep / "sweep.yaml", {"vamp-seed0": {}, "vamp-seed1": {}})
    with pytest.raises(ValueError, match="must be a sweep with finished runs; it has none"):
        with_sweeps([sweep])
    (sweep / "vamp-seed1").mkdir()
    (sweep / "vamp-seed1" / "summary.yaml").touch()
    assert with_sweeps([tmp_path / "run", sweep]) == [tmp_path / "run", sweep / "vamp-seed1"]
    assert capsys.readouterr().err == f"{sweep / 'vamp-seed0'} is not finished, and left out.\n"
    (sweep / "sweep.yaml").write_text("[")
    with pytest.raises(ValueError, match="sweep.yaml"):
        with_sweeps([sweep])


def test_runs_that_have_not_converged_are_told_of(trained: Path):
    standard, vamp = fit_cautions({prior: trained / prior for prior in ("standard", "vamp")})
    assert standard.startswith("standard may not have converged: the best epoch is the last of 2") and vamp.startswith("vamp may not")
