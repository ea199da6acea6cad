"""Fits a model and saves it as a run folder: ``pyro-lvm train --model.prior vamp --out runs/vamp``."""

import math
from pathlib import Path
from typing import NamedTuple

from jsonargparse import Namespace

from inference.files.folders import checked_folder, replacing_folder, resolved
from inference.processes import first_then_others, from_first, is_first
from inference.recipes.build import fit_pair, load
from inference.recipes.combinations import checked_recipes
from inference.recipes.options import Recipe, recipe_of
from inference.runs.folders import check_unchanged_data, parse_recipe, read_summary
from inference.runs.kinds import RUN
from inference.runs.resuming import LAST, begun, check_same, copy_state, is_continued, is_done, keep_what_holds
from inference.runs.run import CHECKPOINT, build_run, fit_run


class Plan(NamedTuple):
    """Where a run is written, and what it goes on from.

    Attributes:
        out: The folder of the run.
        overwrite: Whether an earlier one may be replaced.
        taken: An unfinished folder in which the run goes on.
        finished: A finished run from which it goes on.
        earlier: The folder of either of them.
    """

    out: Path
    overwrite: bool
    taken: Path | None
    finished: Path | None
    earlier: Path | None


def main(args: Namespace) -> None:
    """Fit a model and save it as a run folder; of several processes, the first writes the folder, and the others help to fit."""
    recipe = recipe_of(args)
    checked_recipes({args.out: recipe})
    plan = from_first(lambda: _planned(args, recipe))
    if plan is None:
        more = (
            "a larger --fit.patience, as it stopped early"
            if read_summary(resolved(Path(args.out)))["stopped_early"]
            else "more --fit.epochs"
        )
        print(f"{args.out} is finished; it goes on with {more}.")
        return
    data = first_then_others(lambda: load(recipe.data))
    if plan.finished is not None:
        check_unchanged_data(plan.finished, recipe.data.source, data)
    run = build_run(recipe, data, folder=plan.earlier)
    print(run.data.description, flush=True)
    if not is_first():
        resumed: Path | None = from_first(lambda: None)  # the first process knows it
        fit_pair(run.pair, run.data, recipe.fit, resume=resumed, device=args.device, progress=False)
        return

    out, overwrite, taken, finished, _ = plan
    with replacing_folder(out, RUN, overwrite=overwrite, worth_keeping=CHECKPOINT, taken=taken) as folder:
        if finished is not None and taken is None:
            copy_state(finished, folder)
        resumed = from_first(lambda: folder / CHECKPOINT if (folder / LAST).is_file() else None)
        result = fit_run(run, folder, resume=resumed is not None, device=args.device, track=args.track)
        from inference.drawing import save_axes
        from inference.plots.curves import plot_history

        if finished is not None:
            keep_what_holds(finished, folder)
        save_axes(plot_history(result), folder / "history.png")

    best = f"Best epoch {result.best_epoch}, validation loss {result.best_loss:.2f} nats"
    no_rows = f"Epoch {result.best_epoch}, without validation, as the pair's parameters belong to the training rows"
    print(f"{no_rows if math.isnan(result.best_loss) else best}. Wrote {args.out}.")


def _planned(args: Namespace, recipe: Recipe) -> Plan | None:
    """Return where the run is written, after all that can be checked before any work, or None if there is nothing left to do."""
    earlier = begun(Path(args.out)) if args.resume else None
    is_finished = earlier is not None and earlier == resolved(Path(args.out))
    if earlier is not None:
        check_same(recipe, parse_recipe(earlier), earlier)
        if is_finished and is_done(recipe, earlier):
            return None
    taken = None if is_finished else earlier
    finished = resolved(Path(args.out)) if is_finished or (taken and is_continued(resolved(Path(args.out)), taken)) else None
    overwrite = args.overwrite or finished is not None  # by what goes on from it
    return Plan(checked_folder(Path(args.out), RUN, overwrite=overwrite), overwrite, taken, finished, earlier)
