"""Compares priors by held-out log-likelihood, ``pyro-lvm compare``, or runs, ``pyro-lvm compare RUN ...``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
import sys

from inference.compare import compare
from inference.evaluation import Evaluation
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
    random_rows,
    read_evaluation,
    read_history,
    replacing_folder,
)
from inference.scripts.cli import make_parser, report_errors
from inference.tables import markdown_table

TABLE = "comparison.csv"
PRIORS = ("standard", "mixture", "vamp", "spline")
NUM_IMAGES = 20


def main(argv: Sequence[str] | None = None) -> None:
    """Trains and scores priors on one data set, or scores finished runs, and prints the table."""
    parser = make_parser("compare", "[RUN ...] [options]")
    parser.add_argument("runs", metavar="RUN", nargs="*", type=str, help="Finished run; none: train priors.")
    parser.add_argument("--priors", type=tuple[PriorName, ...], default=PRIORS, help="Priors to train.")
    parser.add_argument("--out", type=str, help="Folder to write; for trained priors runs/compare-DATA.")
    parser.add_argument("--device", type=str, default="cpu", help="Where to fit and to score, such as cuda.")
    parser.add_class_arguments(Recipe)
    parser.add_class_arguments(EvaluateOptions, "evaluate")
    args = parser.instantiate(parser.parse_args(argv))
    recipe, out = Recipe(args.data, args.model, args.fit), args.out and Path(args.out)

    if args.model.prior != Recipe().model.prior:
        raise ValueError(f"--model.prior has no effect; got {args.model.prior!r}. Use --priors instead.")
    if args.runs:
        if recipe != Recipe() or args.priors != PRIORS:
            raise ValueError("finished runs keep their options; leave out --priors, --data, --model, --fit.")
        compare_runs({name: Path(name) for name in args.runs}, args.evaluate, out, args.device)
    else:
        out = out or Path("runs", f"compare-{Path(recipe.data.source).stem}")
        compare_priors(args.priors, recipe, args.evaluate, out, args.device)


def compare_priors(priors: Sequence[str], recipe: Recipe, scoring: EvaluateOptions, out: Path, device: str) -> None:
    """Trains a model with each prior on the same data; an earlier comparison is replaced once all is done."""
    check_replaceable(out, overwrite=True, marker=TABLE)
    data = load(recipe.data)
    recipes = {prior: replace(recipe, model=replace(recipe.model, prior=prior)) for prior in priors}
    runs = {prior: build_run(recipe, data) for prior, recipe in recipes.items()}
    print(data.description, flush=True)

    with replacing_folder(out, overwrite=True, marker=TABLE) as new:
        folders, scores, is_terminal = {prior: new / prior for prior in runs}, {}, sys.stderr.isatty()
        for prior, run in runs.items():
            print(f"\n{prior} prior, {len(scores) + 1} of {len(runs)}", flush=True)
            folders[prior].mkdir()
            fit_run(run, folders[prior], device=device)
            scores[prior] = evaluate_run(run, folders[prior], scoring, device=device, progress=is_terminal)
            print(scores[prior], flush=True)
        report(folders, runs, scores, new)
    print(f"\nWrote {out}.")


def compare_runs(folders: Mapping[str, Path], scoring: EvaluateOptions, out: Path | None, device: str) -> None:
    """Compares finished runs; those without the wanted evaluation are evaluated first."""
    if out is not None:
        check_replaceable(out, overwrite=True, marker=TABLE)
        if any(out.resolve() in folder.resolve().parents for folder in folders.values()):
            raise ValueError(f"{out} holds a compared run and would be replaced. Choose another --out.")
    runs, scores, is_terminal = load_runs(folders), {}, sys.stderr.isatty()
    for name, run in runs.items():
        kept = read_evaluation(run, folders[name], scoring)
        scores[name] = kept or evaluate_run(run, folders[name], scoring, device=device, progress=is_terminal)

    if out is None:
        print(compare(scores), budget(folders, scores).to_string(), sep="\n\n")
        return
    with replacing_folder(out, overwrite=True, marker=TABLE) as new:
        report(folders, runs, scores, new)
    print(f"\nWrote {out}.")


def report(folders: Mapping[str, Path], runs: Mapping[str, Run], scores: Mapping[str, Evaluation], out: Path) -> None:
    """Prints the comparison, and writes it with pictures to a folder."""
    from inference import pictures

    table, fits = compare(scores), budget(folders, scores)
    print("", table, fits.to_string(), sep="\n\n")
    table.to_csv(out / TABLE)
    data = next(iter(runs.values())).data
    (out / "comparison.md").write_text(
        f"{data.description}\n\n{table.to_markdown()}\n\n{markdown_table(fits)}\n"
    )
    histories = {name: read_history(folder) for name, folder in folders.items()}
    pictures.draw_history(histories, out / "curves.png")
    pictures.draw_estimates(scores, out / "estimate-vs-particles.png")

    x = random_rows(data.test, NUM_IMAGES, seed=0)
    if pictures.are_images(x.shape[1:]):
        pictures.draw_models({name: run.vae.cpu() for name, run in runs.items()}, x, out)
    else:
        print(f"No pictures of samples: data of shape {tuple(x.shape[1:])} are no images.")


if __name__ == "__main__":
    report_errors(main)
