"""Scores runs by importance-sampled log-likelihood: ``pyro-lvm evaluate runs/vamp --num_particles 5000``."""

from collections.abc import Sequence
from pathlib import Path
import sys

from inference.options import EvaluateOptions
from inference.runs import evaluate_run, evaluation_path, load_runs
from inference.scripts.cli import make_parser, report_errors


def main(argv: Sequence[str] | None = None) -> None:
    """Scores runs, prints each score and keeps it in the run's folder."""
    parser = make_parser("evaluate", "RUN [RUN ...] [options]")
    parser.add_argument("runs", metavar="RUN", nargs="+", type=str, help="Run folder.")
    parser.add_argument("--device", type=str, default="cpu", help="Where to score, such as cuda.")
    parser.add_class_arguments(EvaluateOptions)
    args = parser.instantiate(parser.parse_args(argv))
    options = EvaluateOptions(args.split, args.num_particles, args.seed)

    folders = {name: Path(name) for name in args.runs}

    for name, run in load_runs(folders).items():
        print(f"{name}: {run.data.description}", flush=True)
        score = evaluate_run(run, folders[name], options, device=args.device, progress=sys.stderr.isatty())
        print(f"{score}\nWrote {evaluation_path(folders[name], options)}.\n", flush=True)


if __name__ == "__main__":
    report_errors(main)
