"""Compares priors by held-out log-likelihood: ``pyro-lvm compare`` on the digits, ``pyro-lvm compare RUN ...`` on runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
import sys

from inference.compare import compare
from inference.evaluation import Evaluation
from inference.importance import data_id
from inference.options import EvaluateOptions, PriorName, Recipe
from inference.recipes import load
from inference.runs import (
    Run,
    budget,
    build_run,
    check_replaceable,
    evaluate_run,
    fit_run,
    load_runs,
    read_evaluation,
    read_history,
    replacing_folder,
)
from inference.scripts.cli import make_parser, progress_lines, report_errors
from inference.tables import markdown_table

TABLE = "comparison.csv"
PRIORS = ("standard", "mixture", "vamp", "maf")
NUM_IMAGES = 20


def main(argv: Sequence[str] | None = None) -> None:
    """Trains and scores priors on one data set, or scores finished runs, and prints the table."""
    parser = make_parser("compare", "[RUN ...] [options]")
    parser.add_argument("runs", metavar="RUN", nargs="*", type=str, help="Finished run; with none, priors are trained.")
    parser.add_argument("--priors", type=tuple[PriorName, ...], default=PRIORS, help="Priors to train.")
    parser.add_argument("--out", type=str, help="Folder for tables and pictures; of trained priors runs/compare-DATA.")
    parser.add_argument("--device", type=str, default="cpu", help="Where to fit and to score, such as cuda.")
    parser.add_class_arguments(Recipe)
    parser.add_class_arguments(EvaluateOptions, "evaluate")
    args = parser.instantiate(parser.parse_args(argv))
    recipe, out = Recipe(args.data, args.model, args.fit), args.out and Path(args.out)

    if args.runs:
        if recipe != Recipe() or args.priors != PRIORS:
            raise ValueError("finished runs keep their own options; leave out --priors, --data, --model and --fit.")
        compare_runs([Path(name) for name in args.runs], args.evaluate, out, args.device)
    else:
        out = out or Path("runs", f"compare-{Path(recipe.data.source).stem}")
        compare_priors(args.priors, recipe, args.evaluate, out, args.device)


def compare_priors(
    priors: Sequence[str], recipe: Recipe, scoring: EvaluateOptions, out: Path, device: str
) -> None:
    """Trains a model with each prior on the same data; an earlier comparison is replaced once all is done."""
    check_replaceable(out, overwrite=True, marker=TABLE)
    data = load(recipe.data)
    recipes = {prior: replace(recipe, model=replace(recipe.model, prior=prior)) for prior in priors}
    runs = {prior: build_run(recipe, data) for prior, recipe in recipes.items()}
    print(data.description, flush=True)

    with replacing_folder(out, overwrite=True, marker=TABLE) as new:
        folders, scores = {prior: new / prior for prior in runs}, {}
        for prior, run in runs.items():
            print(f"\n{prior} prior, {len(scores) + 1} of {len(runs)}", flush=True)
            folders[prior].mkdir()
            with progress_lines():
                fit_run(run, folders[prior], device=device)
            scores[prior] = evaluate_run(run, folders[prior], scoring, device=device, progress=sys.stderr.isatty())
        report(folders, runs, scores, new)
    print(f"\nWrote {out}.")


def compare_runs(folders: Sequence[Path], scoring: EvaluateOptions, out: Path | None, device: str) -> None:
    """Compares finished runs; those without the wanted evaluation are evaluated first."""
    if out is not None:
        check_replaceable(out, overwrite=True, marker=TABLE)
    loaded = load_runs(folders)
    folders = _named(loaded)
    runs = {name: loaded[folder] for name, folder in folders.items()}
    _check_same_data(runs, scoring)

    scores = {}
    for name, run in runs.items():
        score = read_evaluation(folders[name], scoring)
        scores[name] = score or evaluate_run(run, folders[name], scoring, device=device, progress=sys.stderr.isatty())
    if out is None:
        print(describe(folders, scores))
        return
    with replacing_folder(out, overwrite=True, marker=TABLE) as new:
        report(folders, runs, scores, new)
    print(f"\nWrote {out}.")


def report(folders: Mapping[str, Path], runs: Mapping[str, Run], scores: Mapping[str, Evaluation], out: Path) -> None:
    """Prints the comparison and writes it, with pictures, to a folder."""
    from inference import pictures

    table, fits = compare(scores), budget(folders)
    print(f"\n{table}\n\n{fits.to_string()}")
    table.to_csv(out / TABLE)
    (out / "comparison.md").write_text(f"{table.to_markdown()}\n\n{markdown_table(fits)}\n")
    pictures.draw_history({name: read_history(folder) for name, folder in folders.items()}, out / "curves.png")
    pictures.draw_estimates(scores, out / "estimate-vs-particles.png")

    x = next(iter(runs.values())).data.test[::17][:NUM_IMAGES]
