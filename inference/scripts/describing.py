"""The options of the commands that describe finished runs. Nothing here imports torch."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt

from inference.recipes.options import Split, add_baselines, add_plugin, evaluate_options

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_CALIBRATION = "Also test whether the guide is the posterior, on data simulated from the model."


def _diagnose(parser: "ArgumentParser") -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", type=str, help="Run folder.")
    parser.add_argument("--split", type=Split, default="test", help="Split whose codes form q(z).")
    parser.add_argument("--quantile", type=float, default=0.01, help="Share of codes that count as outside the codes.")
    parser.add_argument("--num_draws", type=PositiveInt | None, default=None, help="Number of prior draws and of codes scored.")
    parser.add_argument("--calibration", action="store_true", help=f"{_CALIBRATION} Its table and picture are kept in the run.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of codes and draws.")
    parser.add_argument("--device", type=str, default="cpu", help="Device to diagnose on, such as cuda.")
    add_plugin(parser)


def _report(parser: "ArgumentParser") -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", type=str, help="Finished run.")
    parser.add_argument("--out", type=str, default="report", help="Folder to write.")
    parser.add_argument("--overwrite", action="store_true", help="Replace an earlier report once the new one is complete.")
    parser.add_argument("--calibration", action="store_true", help=_CALIBRATION)
    add_baselines(parser)
    parser.add_argument("--device", type=str, default="cpu", help="Device to score on, such as cuda.")
    parser.add_class_arguments(evaluate_options(), "evaluate")
    add_plugin(parser)


OF_FINISHED: dict[str, tuple[str, Callable[["ArgumentParser"], None]]] = {
    "diagnose": ("RUN [RUN ...] [options]", _diagnose),
    "report": ("RUN [RUN ...] [options]", _report),
}
