"""The options of each command. Nothing here imports torch, so that help and refusals take no seconds."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import PositiveInt

from inference.recipes.options import EngineName, Split, add_baselines, add_plugin, add_recipe, evaluate_options, names_of
from inference.recipes.registries import EXPOST, PRIORS, TRACKERS
from inference.scripts.applying import NEW, OF_ROWS
from inference.scripts.describing import OF_FINISHED

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_TRACK = "Also show the history elsewhere while a fit runs: tensorboard writes its log to the folder tensorboard of the run."
COMPARED = ("standard", "mixture", "vamp", "spline")


def _train(parser: "ArgumentParser") -> None:
    parser.add_argument("--out", type=str, required=True, help="Run folder to write.")
    parser.add_argument("--overwrite", action="store_true", help="Replace an earlier run once training is done.")
    parser.add_argument("--resume", action="store_true", help="Go on with the run of that name; options left out are its own.")
    parser.add_argument("--device", type=str, default="cpu", help="Device to fit on, such as cuda.")
    parser.add_argument("--track", type=names_of(TRACKERS) | None, default=None, help=_TRACK)
    add_recipe(parser)


def _evaluate(parser: "ArgumentParser") -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", type=str, help="Run folder.")
    parser.add_argument("--data.source", type=str | None, default=None, help=f"{NEW} Their scores are kept apart, in RUN/new.")
    parser.add_argument("--out", type=str | None, default=None, help="File for the score of each row of --data.source: .csv or .parquet.")
    parser.add_argument("--overwrite", action="store_true", help="Replace an earlier --out.")
    parser.add_argument("--device", type=str, default="cpu", help="Device to score on, such as cuda.")
    parser.add_argument("--if_missing", action="store_true", help="Keep a score of the present weights that is already there.")
    parser.add_argument("--bidirectional", type=PositiveInt | None, default=None, help="Simulated data whose log p(x) is bounded too.")
    parser.add_class_arguments(evaluate_options())
    add_plugin(parser)


def _compare(parser: "ArgumentParser") -> None:
    prior: Any = names_of(PRIORS)
    expost: Any = names_of(EXPOST)
    parser.add_argument("runs", metavar="RUN", nargs="*", type=str, default=[], help="Finished run; without any, priors are trained.")
    parser.add_argument("--priors", type=tuple[prior, ...], default=COMPARED, help="Priors to train.")
    parser.add_argument("--seeds", type=PositiveInt, default=1, help="Fits with each prior, by seeds 0, 1, ...; each in its own process.")
    add_baselines(parser)
    parser.add_argument("--expost", type=list[expost], default=[], help="Priors to fit after training.")
    parser.add_argument("--expost_of", type=str, nargs="+", help="Models to fit them to; by default standard, or all runs.")
    parser.add_argument("--out", type=str, help="Folder to write; for trained priors, by default runs/compare-DATA.")
    parser.add_argument("--overwrite", action="store_true", help="Replace an earlier comparison once the new one is complete.")
    parser.add_argument("--resume", action="store_true", help="Go on with an unfinished comparison of that name.")
    parser.add_argument("--device", type=str, default="cpu", help="Device to fit and score on, such as cuda.")
    parser.add_argument("--track", type=names_of(TRACKERS) | None, default=None, help=_TRACK)
    add_recipe(parser)
    parser.add_class_arguments(evaluate_options(), "evaluate")


def _sample(parser: "ArgumentParser") -> None:
    parser.add_argument("run", metavar="RUN", type=str, help="Run folder.")
    parser.add_argument("--expost", type=names_of(EXPOST), help="Draw from this prior, fitted after training, instead of the run's own.")
    parser.add_argument("--num_draws", type=PositiveInt, default=20, help="Number of draws and of reconstructions.")
    parser.add_argument("--split", type=Split, default="test", help="Split to encode.")
    parser.add_argument("--given", type=float, nargs="+", help="Draw samples for these values of the conditions, in order.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the draws.")
    parser.add_argument("--device", type=str, default="cpu", help="Device to draw on, such as cuda.")
    parser.add_argument("--out", type=str, help="Folder for arrays and pictures; by default RUN/samples, or RUN/expost-KIND/samples.")
    parser.add_argument("--overwrite", action="store_true", help="Replace earlier samples once the new ones are complete.")
    add_plugin(parser)


def _sweep(parser: "ArgumentParser") -> None:
    words = "An option and its values; seed stands for model.seed and fit.seed."
    parser.add_argument("--over", type=str, nargs="+", action="append", required=True, metavar="OPTION VALUE", help=words)
    parser.add_argument("--out", type=str, required=True, help="Folder of the runs; those that are already in it are kept, or go on.")
    parser.add_argument("--processes", type=PositiveInt | None, default=None, help="Runs at a time; by default, one for each core.")
    parser.add_argument("--engine", type=EngineName, default="processes", help="What runs them: processes here, or ray on its cluster.")
    add_baselines(parser)
    parser.add_argument("--device", type=str, default="cpu", help="Device to fit and score on, such as cuda.")
    parser.add_argument("--track", type=names_of(TRACKERS) | None, default=None, help=_TRACK)
    add_recipe(parser)
    parser.add_class_arguments(evaluate_options(), "evaluate")


def _runs(parser: "ArgumentParser") -> None:
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=str, default="runs", help="Folder to look into, with its subfolders.")
    parser.add_argument("--clean", action="store_true", help="Remove what is left over from processes that are gone.")
    parser.add_argument("--unfinished", action="store_true", help="With --clean, remove unfinished work too.")


OPTIONS: dict[str, tuple[str, Callable[["ArgumentParser"], None]]] = {  # how a command is used, and what adds its options
    "train": ("--out RUN [options]", _train),
    "evaluate": ("RUN [RUN ...] [options]", _evaluate),
    "compare": ("[RUN ...] [options]", _compare),
    "sweep": ("--over OPTION VALUE ... --out FOLDER [options]", _sweep),
    **OF_FINISHED,
    **OF_ROWS,
    "sample": ("RUN [options]", _sample),
    "runs": ("[FOLDER] [options]", _runs),
}
