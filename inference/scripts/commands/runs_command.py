"""Lists what commands have written into a folder, and removes what killed ones have left: ``pyro-lvm runs runs --clean``."""

from datetime import datetime
from pathlib import Path

from jsonargparse import Namespace

from inference.files.leftovers import FINISHED, LEFT_OVER, UNFINISHED, Found, find_folders
from inference.runs.kinds import KINDS
from inference.runs.progress import FAILED, Progress, find_sweeps
from inference.runs.run import CHECKPOINT


def main(args: Namespace) -> None:
    """List finished and unfinished folders with sizes and dates, and remove left-overs if asked to."""
    if args.unfinished and not args.clean:
        raise ValueError("--unfinished has no effect without --clean. Leave it out.")
    folder = Path(args.folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} must be an existing folder. Name one that holds runs: pyro-lvm runs FOLDER")

    sweeps = list(find_sweeps(folder))
    unwanted = ((LEFT_OVER, UNFINISHED) if args.unfinished else (LEFT_OVER,)) if args.clean else ()
    found = list(find_folders(folder, KINDS, worth_keeping=CHECKPOINT))
    listed: list[Found | Progress] = [*found, *sweeps]
    for one in sorted(listed, key=_place):
        if isinstance(one, Progress):
            print("\n".join(_sweep_lines(one)), flush=True)
        else:
            print(_line(one), _remove(one) if one.state in unwanted else "", flush=True)
    if not listed:
        print(f"No runs in {folder}.")
    elif not args.clean and any(one.state == LEFT_OVER for one in found):
        print("--clean removes what is left over.")


def _place(one: Found | Progress) -> tuple[str, ...]:
    return (one.path if isinstance(one, Found) else one.folder).parts


def _line(found: Found) -> str:
    what = "file" if found.kind is None else found.kind.command
    return _columns(what, found.state, found.num_bytes, found.modified, found.path)


def _sweep_lines(sweep: Progress) -> list[str]:
    """A line on a sweep, whose runs follow in lines of their own, and one on each run that has failed."""
    states, failures = list(sweep.states.values()), sweep.failures
    counts = f"{states.count(FINISHED)} of {len(states)} runs finished" + (f", {len(failures)} failed" if failures else "")
    line = _columns("sweep", sweep.state, sweep.num_bytes, sweep.modified, sweep.folder)
    logs = {name: sweep.folder / f"{name}.log" for name in failures}
    failed = [
        f"{_columns('train', FAILED, 0, logs[name].stat().st_mtime, sweep.folder / name)}: {words}" for name, words in failures.items()
    ]
    return [f"{line} ({counts})", *failed]


def _columns(what: str, state: str, num_bytes: int, modified: float, path: Path) -> str:
    when = datetime.fromtimestamp(modified).isoformat(" ", "minutes")
    return f"{what:<8} {state:<13} {num_bytes / 1e6:>9.1f} MB  {when}  {path}"


def _remove(found: Found) -> str:
    return "removed" if found.remove() else "kept, as it holds files of others"
