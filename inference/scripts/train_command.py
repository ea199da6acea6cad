"""Fits a model and saves it as a run folder: ``pyro-lvm train --model.prior vamp --out runs/vamp``."""

from pathlib import Path

from jsonargparse import Namespace

from inference.files.folders import checked_folder, replacing_folder
from inference.recipes.build import load
from inference.recipes.combinations import check_parts
from inference.recipes.options import Recipe
from inference.runs.kinds import RUN
from inference.runs.run import CHECKPOINT, build_run, fit_run


def main(args: Namespace) -> None:
    """Fit a model and save it as a run folder."""
    recipe = Recipe(args.data, args.model, args.fit)

    check_parts(recipe.model)
    out = checked_folder(Path(args.out), RUN, overwrite=args.overwrite)
    run = build_run(recipe, load(recipe.data))
    print(run.data.description, flush=True)

    with replacing_folder(out, RUN, overwrite=args.overwrite, worth_keeping=CHECKPOINT) as folder:
        result = fit_run(run, folder, device=args.device)
        from inference.report.plots.curves import draw_history

        draw_history({recipe.model.prior: result.history}, folder / "history.png")

    print(f"Best epoch {result.best_epoch}, validation loss {result.best_loss:.2f} nats. Wrote {args.out}.")
