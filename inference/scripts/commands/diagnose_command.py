"""Diagnoses runs by prior holes, terms of the KL and active units: ``pyro-lvm diagnose runs/vamp runs/standard``."""

from pathlib import Path
import sys

from jsonargparse import Namespace

from inference.checkpoint import move_
from inference.diagnostics.diagnosis import diagnose
from inference.files import replacing_file
from inference.processes import first_then_others, is_first
from inference.recipes.build import seen_by_model
from inference.runs.folders import load_runs

TABLE = "diagnosis.csv"


def main(args: Namespace) -> None:
    """Diagnose runs, print each table and save it in the run's folder."""
    folders = {name: Path(name) for name in args.runs}

    for name, run in first_then_others(lambda: load_runs(folders)).items():
        print(f"{name}: {run.data.description}", flush=True)
        x, *given = run.data.batch(args.split)
        x = seen_by_model(run.data, seed=args.seed) if args.split == "train" else x
        move_(run.pair, args.device)
        diagnosis = diagnose(
            run.pair,
            *(each.to(args.device) for each in (x, *given)),
            quantile=args.quantile,
            num_draws=args.num_draws,
            seed=args.seed,
            progress=sys.stderr.isatty(),
        )
        if is_first():
            with replacing_file(folders[name] / TABLE) as temporary:
                diagnosis.to_frame().to_csv(temporary)
        print(f"{diagnosis}\nWrote {folders[name] / TABLE}.\n", flush=True)
