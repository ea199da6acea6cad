"""Diagnoses runs by prior holes, terms of the KL and active units; calibrates guides: ``pyro-lvm diagnose runs/vamp runs/standard``."""

from collections.abc import Iterator
from pathlib import Path
import sys

from jsonargparse import Namespace
import pandas as pd

from inference.checkpoint import move_
from inference.diagnostics.calibration.simulated import calibrate
from inference.diagnostics.diagnosis import diagnose
from inference.diagnostics.draws import has_one_prior
from inference.files import replacing_file
from inference.processes import first_then_others, is_first
from inference.recipes.build import batch_seen
from inference.runs.folders import load_runs
from inference.runs.run import Run
from pyro_lvm.pair import Batch

TABLE, CALIBRATION = "diagnosis.csv", "calibration"


def main(args: Namespace) -> None:
    """Diagnose runs, print each table and save it in the run's folder."""
    folders = {name: Path(name) for name in args.runs}

    for name, run in first_then_others(lambda: load_runs(folders)).items():
        print(f"{name}: {run.data.description}", flush=True)
        batch = batch_seen(run.data, seed=args.seed) if args.split == "train" else run.data.batch(args.split)
        move_(run.pair, args.device)
        batch = tuple(x.to(args.device) for x in batch)
        tables = {}
        for part, rows in _with_one_prior(run, batch):
            diagnosis = diagnose(
                run.pair, rows, quantile=args.quantile, num_draws=args.num_draws, seed=args.seed, progress=sys.stderr.isatty()
            )
            tables[part] = diagnosis.to_frame()
            print(*filter(None, [part]), diagnosis, sep="\n", flush=True)
        if is_first():
            with replacing_file(folders[name] / TABLE) as temporary:
                (tables[""] if "" in tables else pd.concat(tables, names=["given"])).to_csv(temporary)
        print(f"Wrote {folders[name] / TABLE}.\n", flush=True)
        if args.calibration:
            _calibrate(run, batch, folders[name], args.seed)


def _calibrate(run: Run, batch: Batch, folder: Path, seed: int) -> None:
    """Calibrate a run's guide, print the table and save it with its picture."""
    calibration = calibrate(run.pair, *batch, seed=seed)
    if is_first():
        with replacing_file(folder / f"{CALIBRATION}.csv") as temporary:
            calibration.to_frame().to_csv(temporary)
        calibration.plot(folder / f"{CALIBRATION}.png")
    print(calibration, f"Wrote {folder / CALIBRATION}.csv and .png.\n", sep="\n", flush=True)


def _with_one_prior(run: Run, batch: Batch) -> Iterator[tuple[str, Batch]]:
    """The data or, of a pair whose prior depends on a label, those of each label, by what they are given."""
    names = list(run.data.given)
    if len(names) != 1 or names[0] not in run.data.num_categories or has_one_prior(run.pair, batch):
        yield "", batch
        return
    for category in range(run.data.num_categories[names[0]]):
        chosen = batch[1] == category
        if bool(chosen.any()):
            yield f"{names[0]} {category}", tuple(x[chosen] for x in batch)
