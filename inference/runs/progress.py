"""Which runs a sweep has been asked for, and how far each of them is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.files.claims import live_partials
from inference.files.leftovers import FINISHED, RUNNING, UNFINISHED
from inference.runs.kinds import RUN
from inference.runs.reading import parse_yaml, read_text, reading
from inference.runs.run import TABLE

SWEEP = "sweep.yaml"
FAILED = "failed"


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes:
        folder: Its folder.
        states: The state of each run by name: ``"finished"``, ``"being written"``, ``"unfinished"``, begun or not, or ``"failed"``.
        modified: When its latest file was written, in seconds since 1970.
        num_bytes: Size of its files, without those of its runs.
    """

    folder: Path
    states: dict[str, str]
    modified: float
    num_bytes: int

    @property
    def failures(self) -> dict[str, str]:
        """The last line of the output of each run that has failed."""
        return {name: last_line(self.folder / f"{name}.log") for name, state in self.states.items() if state == FAILED}

    @property
    def state(self) -> str:
        """The state of the whole: ``"finished"``, ``"being written"`` or ``"unfinished"``."""
        states = set(self.states.values())
        if RUNNING in states:
            return RUNNING
        return FINISHED if states == {FINISHED} and (self.folder / TABLE).is_file() else UNFINISHED


def planned_runs(folder: Path) -> dict[str, dict[str, Any]]:
    """The values, by option, of all runs that a sweep has ever been asked for, by name; none if there is no sweep in a folder.

    Raises:
        OSError: If the file that lists them cannot be read.
        ValueError: If it is damaged.
    """
    path = folder / SWEEP
    if not path.exists():
        return {}
    with reading(path, "Restore the file, or choose another --out"):
        runs = parse_yaml(read_text(path))
        if not all(isinstance(values, dict) for values in runs.values()):
            raise ValueError("it must hold the options of each run by name")
    return runs


def find_sweeps(folder: Path) -> Iterator[Progress]:
    """Yield the sweeps in a folder and its subfolders; other files of that name are passed over."""
    for path in sorted(folder.rglob(SWEEP)):
        try:
            names = list(planned_runs(path.parent))
        except (OSError, ValueError):
            continue
        files = [own.stat() for own in path.parent.iterdir() if own.is_file()]
        states = {name: _state(path.parent, name) for name in names}
        yield Progress(path.parent, states, max(stat.st_mtime for stat in files), sum(stat.st_size for stat in files))


def last_line(log: Path) -> str:
    """The last line of a log; nothing if there is none."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1] if lines else ""


def _state(folder: Path, name: str) -> str:
    if live_partials(folder / name):
        return RUNNING
    if last_line(folder / f"{name}.log").startswith("error:"):
        return FAILED
    return FINISHED if RUN.is_finished(folder / name) else UNFINISHED
