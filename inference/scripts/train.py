"""Fits a model and keeps it as a run folder: ``pyro-lvm train --model.prior vamp --out runs/vamp``."""

from collections.abc import Sequence
from pathlib import Path

from inference.options import Recipe
from inference.recipes import load
from inference.runs import SUMMARY, build_run, check_replaceable, fit_run, replacing_folder
from inference.scripts.cli import make_parser, report_errors


def main(argv: Sequence[str] | None = None) -> None:
    """Fits a model and keeps it as a run folder."""
    parser = make_parser("train", "--out RUN [options]")
    parser.add_argument("--out", type=str, required=True, help="The run folder to make.")
    parser.add_argument("--overwrite", action="store_true", help="Replace an earlier run when done.")
    parser.add_argument("--device", type=str, default="cpu", help="Where to fit, such as cuda.")
    parser.add_class_arguments(Recipe)
    args = parser.instantiate(parser.parse_args(argv))
    recipe = Recipe(args.data, args.model, args.fit)

    out, replacing = Path(args.out), {"overwrite": args.overwrite, "marker": SUMMARY}
    check_replaceable(out, **replacing)
    run = build_run(recipe, load(recipe.data))
    print(run.data.description, flush=True)

    with replacing_folder(out, **replacing) as folder:
        result = fit_run(run, folder, device=args.device)
        from inference.pictures import draw_history

        draw_history({recipe.model.prior: result.history}, folder / "history.png")

    best = result.history.set_index("epoch").loc[result.best_epoch]
    print(f"Best epoch {result.best_epoch}, validation loss {best['valid_loss']:.2f} nats. Wrote {out}.")


if __name__ == "__main__":
    report_errors(main)
