"""Compares priors by held-out log-likelihood (``pyro-lvm compare``), or finished runs (``pyro-lvm compare RUN ...``)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jsonargparse import Namespace

from inference.comparison.table import compare
from inference.files import check_replaceable, replacing_folder
from inference.recipes.build import load
from inference.recipes.combinations import check_parts
from inference.recipes.options import EvaluateOptions, Recipe
from inference.runs.folders import budget, load_runs
from inference.runs.run import CHECKPOINT, TABLE, Run, build_run, fit_run
from inference.runs.scores import score_run, score_runs
from inference.scoring.evaluation import Evaluation
from inference.scripts.arguments import PRIORS

Expost = Mapping[str, Sequence[str]]


def main(args: Namespace) -> None:
    """Train and score priors on one data set, or score finished runs, and print the table."""
    recipe, out = Recipe(args.data, args.model, args.fit), args.out and Path(args.out)

    if not args.priors:
        raise ValueError("--priors must name at least one prior; got none. Leave it out for the usual ones.")
    if args.model.prior != Recipe().model.prior:
        raise ValueError(f"--model.prior has no effect; got {args.model.prior!r}. Use --priors instead.")
    if args.runs:
        if recipe != Recipe() or args.priors != PRIORS:
            raise ValueError("finished runs keep their options; leave out --priors, --data, --model, --fit.")
        expost = plan_expost(args.expost, args.expost_of, args.runs, args.runs)
        compare_runs({name: Path(name) for name in args.runs}, expost, args.evaluate, out, args.device)
    else:
        out = out or Path("runs", f"compare-{Path(recipe.data.source).stem}")
        expost = plan_expost(args.expost, args.expost_of, ["standard"], args.priors)
        compare_priors(args.priors, expost, recipe, args.evaluate, out, args.device)


def compare_priors(priors: Sequence[str], expost: Expost, recipe: Recipe, scoring: EvaluateOptions, out: Path, device: str) -> None:
    """Train a model with each prior on the same data; an earlier comparison is replaced at the end."""
    check_replaceable(out, overwrite=True, marker=TABLE)
    recipes = {prior: replace(recipe, model=replace(recipe.model, prior=prior)) for prior in priors}
    for single in recipes.values():
        check_parts(single.model)
    data = load(recipe.data)
    runs = {prior: build_run(recipe, data) for prior, recipe in recipes.items()}
    print(data.description, flush=True)

    with replacing_folder(out, overwrite=True, marker=TABLE, worth_keeping=CHECKPOINT) as new:
        folders, models, scores = {prior: new / prior for prior in runs}, {}, {}
        for number, (prior, run) in enumerate(runs.items(), start=1):
            print(f"\n{prior} prior, {number} of {len(runs)}", flush=True)
            folders[prior].mkdir()
            fit_run(run, folders[prior], device=device)
            for row in score_run(run, folders[prior], expost.get(prior, ()), scoring, device=device):
                models[prior + row.suffix], scores[prior + row.suffix] = row.run, row.score
                print(row.score, flush=True)
        report(folders, models, scores, new)
    print(f"\nWrote {out}.")


def compare_runs(folders: Mapping[str, Path], expost: Expost, scoring: EvaluateOptions, out: Path | None, device: str) -> None:
    """Compare finished runs; those without the requested evaluation are evaluated first."""
    if out is not None:
        check_replaceable(out, overwrite=True, marker=TABLE)
        if any(out.resolve() in folder.resolve().parents for folder in folders.values()):
            raise ValueError(f"{out} holds a compared run and would be replaced. Choose another --out.")
    models, scores = score_runs(load_runs(folders), folders, scoring, expost=expost, device=device)

    if out is None:
        print(compare(scores), budget(folders, scores).to_string(), sep="\n\n")
        return
    with replacing_folder(out, overwrite=True, marker=TABLE, worth_keeping=CHECKPOINT) as new:
        report(folders, models, scores, new)
    print(f"\nWrote {out}.")


def plan_expost(expost: Sequence[str], of: Sequence[str] | None, default: Sequence[str], names: Sequence[str]) -> Expost:
    """The priors to fit after training, by the model to which they are fitted."""
    if not expost:
        if of:
            raise ValueError(f"--expost_of has no effect without --expost; got {' '.join(of)}. Leave it out.")
        return {}
    for name in of or default:
        if name not in names:
            raise ValueError(f"--expost_of must name compared models, {', '.join(names)}; got {name!r}. Choose among them.")
    return dict.fromkeys(of or default, expost)


def report(folders: Mapping[str, Path], models: Mapping[str, Run], scores: Mapping[str, Evaluation], out: Path) -> None:
    """Print the comparison, and write it with pictures and a page of HTML to a folder."""
    from inference.report.report import write_report

    print("", compare(scores), budget(folders, scores).to_string(), sep="\n\n", flush=True)
    write_report(folders, models, scores, out)
