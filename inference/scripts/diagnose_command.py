"""Diagnoses runs by prior holes, terms of the KL and active units: ``pyro-lvm diagnose runs/vamp runs/standard``."""

from collections.abc import Sequence
from pathlib import Path
import sys

from jsonargparse.typing import PositiveInt

from inference.diagnostics.diagnosis import diagnose
from inference.recipes.build import seen_by_model
from inference.recipes.options import Split
from inference.recipes.sizes import Seed
from inference.runs.folders import load_runs
from inference.scripts.cli import make_parser

TABLE = "diagnosis.csv"


def main(argv: Sequence[str] | None = None) -> None:
    """Diagnose runs, print each table and save it in the run's folder."""
    parser = make_parser("diagnose", "RUN [RUN ...] [options]")
    parser.add_argument("runs", metavar="RUN", nargs="+", type=str, help="Run folder.")
    parser.add_argument("--split", type=Split, default="test", help="Split whose codes form q(z).")
    parser.add_argument("--quantile", type=float, default=0.01, help="Share of codes that count as outside the codes.")
    parser.add_argument("--num_draws", type=PositiveInt | None, default=None, help="Number of prior draws and of codes scored.")
    parser.add_argument("--seed", type=Seed, default=0, help="Seed of codes and draws.")
    parser.add_argument("--device", type=str, default="cpu", help="Device to diagnose on, such as cuda.")
    args = parser.instantiate(parser.parse_args(argv))

    folders = {name: Path(name) for name in args.runs}

    for name, run in load_runs(folders).items():
        print(f"{name}: {run.data.description}", flush=True)
        x = seen_by_model(run.data, seed=args.seed) if args.split == "train" else getattr(run.data, args.split)
        diagnosis = diagnose(
            run.vae.to(args.device),
            x.to(args.device),
            quantile=args.quantile,
            num_draws=args.num_draws,
            seed=args.seed,
            progress=sys.stderr.isatty(),
        )
        diagnosis.to_frame().to_csv(folders[name] / TABLE)
        print(f"{diagnosis}\nWrote {folders[name] / TABLE}.\n", flush=True)
