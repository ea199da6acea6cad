"""Writes a report of runs on one page of HTML: ``pyro-lvm report runs/vamp runs/standard --out report``."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from inference.files.folders import checked_folder, replacing_folder
from inference.runs.fits import stand_beside, with_sweeps
from inference.runs.folders import load_runs
from inference.runs.kinds import REPORT
from inference.runs.run import CHECKPOINT, PAGE
from inference.runs.scores import score_runs


def main(args: Namespace) -> None:
    """Write a report of finished runs; those without the requested evaluation are evaluated first."""
    folders = name_runs(with_sweeps([Path(run) for run in args.runs]))

    out = checked_folder(Path(args.out), REPORT, overwrite=args.overwrite, beside=folders.values())
    runs = load_runs(folders)
    with replacing_folder(out, REPORT, overwrite=args.overwrite, worth_keeping=CHECKPOINT) as new:
        models, scores = score_runs(runs, folders, args.evaluate, device=args.device)
        from inference.report.report import write_report

        beside = stand_beside(models, scores, args.evaluate.split, args.baselines)
        warnings = write_report(folders, models, scores, new, beside, calibration=args.calibration)
    print(*warnings, f"Wrote {Path(args.out) / PAGE}.", sep="\n")


def name_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """Name runs by the last part of their paths, or by their whole paths where that is ambiguous."""
    names = [folder.resolve().name for folder in folders]
    return dict(zip(names if len(set(names)) == len(names) else map(str, folders), folders, strict=True))
