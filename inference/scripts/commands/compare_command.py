"""Compares priors by held-out log-likelihood (``pyro-lvm compare``), or finished runs (``pyro-lvm compare RUN ...``)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jsonargparse import Namespace

from inference.files.folders import checked_folder, replacing_folder, resolved
from inference.recipes.build import load
from inference.recipes.combinations import checked_recipes
from inference.recipes.options import Recipe, recipe_of
from inference.runs.fits import compare_fits, fit_cautions, stand_beside, with_sweeps
from inference.runs.folders import budget, load_runs
from inference.runs.kinds import COMPARISON, default_out
from inference.runs.resuming import begun, check_begun, go_on
from inference.runs.run import CHECKPOINT, CONFIG, Run, build_run
from inference.runs.scores import score_run, score_runs
from inference.scoring.evaluation import Evaluation
from inference.scripts.arguments import COMPARED
from inference.scripts.checks.values import Expost, plan_expost
from inference.scripts.commands.sweep_command import sweep_seeds
from inference.yardsticks.fitting import Beside


def main(args: Namespace) -> None:
    """Train and score priors on one data set, or score finished runs, and print the table."""
    recipe = recipe_of(args)
    if recipe.pair is not None:
        raise ValueError("--pair is of train and sweep, as compare trains priors. Train the pair, and compare its run with others.")
    if not args.priors:
        raise ValueError("--priors must name at least one prior; got none. Leave it out for the usual ones.")
    if args.model.prior != Recipe().model.prior:
        raise ValueError(f"--model.prior has no effect; got {args.model.prior!r}. Use --priors instead.")
    if args.runs:
        if replace(recipe, plugin=(), code={}) != Recipe() or args.priors != COMPARED:
            raise ValueError("finished runs keep their options; leave out --priors, --data, --model, --fit.")
        if args.overwrite and args.out is None:
            raise ValueError("--overwrite has no effect without --out for finished runs. Leave it out.")
        if args.seeds > 1 or args.resume or args.track:
            raise ValueError("--seeds, --resume and --track are of trainings, and have no effect on finished runs. Leave them out.")
        folders = {str(run): run for run in with_sweeps([Path(run) for run in args.runs])}
        expost = plan_expost(args.expost, args.expost_of, list(folders), list(folders))
        out = args.out and Path(args.out)
        compare_runs(args, folders, expost, out)
        return
    out = Path(args.out or default_out(recipe.data.source))
    if args.seeds > 1:
        sweep_seeds(args, recipe, out if args.out else out.with_name(f"{out.name}-seeds"))
        return
    expost = plan_expost(args.expost, args.expost_of, ["standard"], args.priors)
    taken = begun(out, f"*/{CONFIG}") if args.resume else None
    if taken is not None:
        check_begun({prior: replace(recipe, model=replace(recipe.model, prior=prior)) for prior in args.priors}, taken)
        if COMPARISON.is_finished(taken):
            print(f"{out} is finished. To make it anew, take --overwrite instead of --resume.")
            return
    taken = None if taken == resolved(out) else taken  # a folder of something else, which is refused
    compare_priors(args, expost, recipe, out, taken)


def compare_priors(args: Namespace, expost: Expost, recipe: Recipe, out: Path, taken: Path | None) -> None:
    """Train a model with each prior on the same data; an earlier comparison is replaced at the end.

    With an unfinished comparison, ``taken``, what is there already is kept, and the rest goes on.
    """
    folder = checked_folder(out, COMPARISON, overwrite=args.overwrite)
    recipes = checked_recipes({prior: replace(recipe, model=replace(recipe.model, prior=prior)) for prior in args.priors})
    data = load(recipe.data)
    runs = {prior: build_run(recipe, data) for prior, recipe in recipes.items()}
    print(data.description, flush=True)

    with replacing_folder(folder, COMPARISON, overwrite=args.overwrite, worth_keeping=CHECKPOINT, taken=taken) as new:
        folders, models, scores = {prior: new / prior for prior in runs}, {}, {}
        for number, (prior, run) in enumerate(runs.items(), start=1):
            print(f"\n{prior} prior, {number} of {len(runs)}", flush=True)
            folders[prior].mkdir(exist_ok=True)
            go_on(run, folders[prior], device=args.device, track=args.track)
            for row in score_run(run, folders[prior], expost.get(prior, ()), args.evaluate, device=args.device):
                models[prior + row.suffix], scores[prior + row.suffix] = row.run, row.score
                print(row.score, flush=True)
        report(folders, models, scores, new, stand_beside(models, scores, args.evaluate.split, args.baselines))
    print(f"\nWrote {out}.")


def compare_runs(args: Namespace, folders: Mapping[str, Path], expost: Expost, out: Path | None) -> None:
    """Compare finished runs; those without the requested evaluation are evaluated first."""
    folder = None if out is None else checked_folder(out, COMPARISON, overwrite=args.overwrite, beside=folders.values())
    models, scores = score_runs(load_runs(folders), folders, args.evaluate, expost=expost, device=args.device)

    beside = stand_beside(models, scores, args.evaluate.split, args.baselines)
    if folder is None:
        warnings = "\n".join(fit_cautions(folders))
        print(*compare_fits(folders, models, scores, beside), budget(folders, scores).to_string(), *filter(None, [warnings]), sep="\n\n")
        return
    with replacing_folder(folder, COMPARISON, overwrite=args.overwrite, worth_keeping=CHECKPOINT) as new:
        report(folders, models, scores, new, beside)
    print(f"\nWrote {out}.")


def report(folders: Mapping[str, Path], models: Mapping[str, Run], scores: Mapping[str, Evaluation], out: Path, beside: Beside) -> None:
    """Print the comparison, and write it with pictures and a page of HTML to a folder."""
    from inference.report.report import write_report

    print("", *compare_fits(folders, models, scores, beside), budget(folders, scores).to_string(), sep="\n\n", flush=True)
    print("", *write_report(folders, models, scores, out, beside), sep="\n")
