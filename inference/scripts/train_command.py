"""Fits a model and saves it as a run folder: ``pyro-lvm train --model.prior vamp --out runs/vamp``."""

from pathlib import Path

from jsonargparse import Namespace

from inference.files.folders import checked_folder, replacing_folder, resolved
from inference.recipes.build import load
from inference.recipes.combinations import check_parts
from inference.recipes.options import Recipe
from inference.runs.folders import parse_recipe
from inference.runs.kinds import RUN
from inference.runs.resuming import LAST, begun, check_same, copy_state, is_continued, is_done, keep_what_holds
from inference.runs.run import CHECKPOINT, build_run, fit_run


def main(args: Namespace) -> None:
    """Fit a model and save it as a run folder."""
    recipe = Recipe(args.data, args.model, args.fit)

    check_parts(recipe.model)
    earlier = begun(Path(args.out)) if args.resume else None
    is_finished = earlier is not None and earlier == resolved(Path(args.out))
    if earlier is not None:
        check_same(recipe, parse_recipe(earlier), earlier)
        if is_finished and is_done(recipe, earlier):
            print(f"{args.out} is finished; it goes on with more --fit.epochs.")
            return
    taken = None if is_finished else earlier
    finished = resolved(Path(args.out)) if is_finished or (taken and is_continued(resolved(Path(args.out)), taken)) else None
    overwrite = args.overwrite or finished is not None  # by what goes on from it
    out = checked_folder(Path(args.out), RUN, overwrite=overwrite)
    run = build_run(recipe, load(recipe.data))
    print(run.data.description, flush=True)

    with replacing_folder(out, RUN, overwrite=overwrite, worth_keeping=CHECKPOINT, taken=taken) as folder:
        if finished is not None and taken is None:
            copy_state(finished, folder)
        result = fit_run(run, folder, resume=(folder / LAST).is_file(), device=args.device, track=args.track)
        from inference.report.plots.curves import draw_history

        if finished is not None:
            keep_what_holds(finished, folder)
        draw_history({recipe.model.prior: result.history}, folder / "history.png")

    print(f"Best epoch {result.best_epoch}, validation loss {result.best_loss:.2f} nats. Wrote {args.out}.")
