"""Fits beside each other: which of them are of one recipe, and which have not converged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os.path import commonprefix
from pathlib import Path
import re
import sys

from inference.comparison.cautions import convergence
from inference.comparison.recipes import compare_recipes
from inference.comparison.table import Comparison, compare
from inference.recipes.options import Recipe
from inference.runs.folders import read_history, read_recipe, read_summary
from inference.runs.progress import SWEEP
from inference.runs.reading import parse_yaml, read_text, reading
from inference.runs.run import SUMMARY, Run
from inference.scoring.evaluation import Evaluation
from inference.yardsticks.fitting import NOTHING_BESIDE, Asked, Beside, score_beside

_SEED = re.compile(r"[\W_]*((model|fit)[\W_]?)?seed.*$|[\W_]*\d*$", re.IGNORECASE)
_CONSTANT = "constant"


def with_sweeps(folders: Sequence[Path]) -> list[Path]:
    """Return run folders, and instead of the folder of a sweep those of its runs; unfinished ones are left out, with a line on stderr.

    Raises:
        ValueError: If a sweep has no finished run, or the file that lists its runs is damaged.
    """
    return [run for folder in folders for run in (_runs_of(folder) if (folder / SWEEP).is_file() else [folder])]


def _runs_of(folder: Path) -> list[Path]:
    with reading(folder / SWEEP, "Give the sweep again"):
        runs = [folder / name for name in parse_yaml(read_text(folder / SWEEP))]
    finished = [run for run in runs if (run / SUMMARY).is_file()]
    if not finished:
        raise ValueError(f"{folder} must be a sweep with finished runs; it has none. Give the sweep again.")
    for run in runs:
        if run not in finished:
            print(f"{run} is not finished, and left out.", file=sys.stderr)
    return finished


def group_fits(folders: Mapping[str, Path], runs: Mapping[str, Run]) -> dict[str, list[str]] | None:
    """Find the fits that differ from each other in nothing but the seeds of the model's start and of the fit.

    Fits whose seeds are equal as well are copies, which would feign that there is no scatter over seeds; each stays a model of its own.

    Args:
        folders: Run folders by the names of the fits.
        runs: The fits by name; a name may be that of a folder with the suffix of a row, as for a prior fitted after training.

    Returns:
        The names of the fits of each recipe, sorted by seeds, by its name; None if no recipe has several fits.
    """
    suffixes = {name: name.removeprefix(max((own for own in folders if name.startswith(own)), key=len)) for name in runs}
    groups: dict[tuple[str, str, int], dict[tuple[int, int], str]] = {}
    for name, run in runs.items():
        key, seeds, copy = (repr(_without_seeds(run.recipe)), suffixes[name]), (run.recipe.model.seed, run.recipe.fit.seed), 0
        while seeds in groups.setdefault((*key, copy), {}):
            copy += 1
        groups[(*key, copy)][seeds] = name
    fits = [[names[seeds] for seeds in sorted(names)] for names in groups.values()]
    if all(len(names) == 1 for names in fits):
        return None
    return dict(zip(_labels(fits, suffixes), fits, strict=True))


def _without_seeds(recipe: Recipe) -> Recipe:
    return replace(recipe.kept(), model=replace(recipe.model, seed=0), fit=replace(recipe.fit, seed=0))


def _labels(fits: Sequence[Sequence[str]], suffixes: Mapping[str, str]) -> list[str]:
    """What the names of a recipe's fits begin with, without seeds; where that is nothing or no name of its own, the first of its fits."""
    labels = [_label(names, suffixes[names[0]]) for names in fits]
    return [label if label and labels.count(label) == 1 else f"{names[0]}, ..." for label, names in zip(labels, fits, strict=True)]


def _label(names: Sequence[str], suffix: str) -> str:
    if len(names) == 1:
        return names[0]
    stem = _SEED.sub("", commonprefix([name.removesuffix(suffix) for name in names]), count=1)
    return stem + suffix if stem else ""


def compare_fits(
    folders: Mapping[str, Path], runs: Mapping[str, Run], scores: Mapping[str, Evaluation], beside: Beside = NOTHING_BESIDE
) -> Iterator[Comparison]:
    """Compare recipes, if there are several fits of any, and then the fits.

    Args:
        folders: Run folders by the names of the fits.
        runs: The fits by name, as for :func:`group_fits`.
        scores: Their evaluations, by the same names.
        beside: The yardsticks beside the fits.
    """
    if (groups := group_fits(folders, runs)) is not None:
        yield compare_recipes({name: [scores[fit] for fit in fits] for name, fits in groups.items()})
    yield compare_beside(scores, beside)


def compare_beside(scores: Mapping[str, Evaluation], beside: Beside) -> Comparison:
    """Compare models with the yardsticks beside them; the notes of the table also say which yardsticks were left out."""
    table = compare({**scores, **beside.scores}, yardsticks=beside.sizes)
    table.attrs["notes"] += beside.notes
    return table


def stand_beside(runs: Mapping[str, Run], scores: Mapping[str, Evaluation], split: str, asked: Asked) -> Beside:
    """Fit and score the yardsticks beside runs of the same data; see :func:`~inference.yardsticks.fitting.score_beside`."""
    data, pairs = next(iter(runs.values())).data, {name: run.pair for name, run in runs.items()}
    return score_beside(data, split, pairs, scores, asked)


def fit_cautions(folders: Mapping[str, Path]) -> Iterator[str]:
    """Warn of runs whose fits have not converged; see :func:`~inference.comparison.cautions.convergence`.

    Args:
        folders: Run folders by the names of the runs.

    Yields:
        Sentences with the evidence and a remedy.
    """
    for name, folder in folders.items():
        options, summary = read_recipe(folder).fit, read_summary(folder)
        is_scheduled = options.schedule != _CONSTANT
        yield from convergence(
            name,
            read_history(folder),
            summary["best_epoch"],
            epochs=options.epochs,
            patience=options.patience,
            is_scheduled=is_scheduled,
        )
