"""Kills commands at random moments and at chosen steps, lets them go on, and compares what they end with to what an uninterrupted one does.

``OMP_NUM_THREADS=1 python tests/kills.py random 100 [SEED [KIND ...]]`` from the root of the repository; ``chosen`` instead of ``random``
for kills at that many of the steps of each kind, or ``full`` for full disks there. ``steps.py`` says what a step is. ``table`` alone makes
a sweep of 4 recipes and 3 seeds in processes of its own, once whole, and once killed (SIGKILL), stopped (SIGTERM) and finished.
"""

from collections.abc import Sequence
from contextlib import redirect_stdout
import ctypes
from dataclasses import dataclass
import os
from pathlib import Path
import random
import signal
import sys
from tempfile import TemporaryDirectory
import time
from types import SimpleNamespace

import pandas as pd
from safetensors.torch import load_file
from steps import FULL, HALF, KILL, LIMIT, Ended, Steps, in_child
import torch

from inference import Evaluation
from inference.files import leftovers
from inference.files.contents import strangers
from inference.predictive.features import pca_features
from inference.report import quality, report
from inference.runs import sweep
from inference.runs.kinds import RUN
from inference.scripts.cli import main
from inference.svi import state

TINY = ("--model.hidden=[8]", "--model.latent_dim=2", "--fit.batch_size=400", "--fit.patience=null")
TRAIN = ("train", "--out={}/run", *TINY, "--resume")
COMPARE = (
    "compare",
    "--baselines=false",
    "--out={}/all",
    "--priors=[standard,mixture]",
    "--fit.epochs=4",
    *TINY,
    "--evaluate.num_particles=20",
)
SWEEP = ("sweep", "--out={}/all", "--over", "model.prior", "standard", "mixture", "--over", "seed", "0", "1", "--fit.epochs=3", *TINY)
SWEEP = (*SWEEP, "--evaluate.num_particles=20", "--processes=2")
SHORT = (*TRAIN, "--fit.epochs=2")
REPORT = ("report", "{}/run", "--out={}/report", "--evaluate.num_particles=20", "--overwrite")


@dataclass(frozen=True)
class Kind:
    """What is killed.

    Attributes:
        words: The command, which can be given again; {} stands for its folder.
        before: Commands that are given before it, and are not killed.
        name: The folder that it ends with.
        in_copies: Whether its own processes are killed, instead of itself.
    """

    words: Sequence[str]
    before: Sequence[Sequence[str]] = ()
    name: str = "run"
    in_copies: bool = False


KINDS = {
    "train": Kind((*TRAIN, "--fit.epochs=12")),
    "more": Kind((*TRAIN, "--fit.epochs=8"), [SHORT, ("evaluate", "{}/run", "--num_particles=5")]),
    "evaluate": Kind(("evaluate", "{}/run", "--num_particles=100"), [SHORT]),
    "compare": Kind((*COMPARE, "--resume"), name="all"),
    "sweep": Kind(SWEEP, name="all"),
    "jobs": Kind(SWEEP, name="all", in_copies=True),
    "sample": Kind(("sample", "{}/run", "--overwrite"), [SHORT, ("sample", "{}/run")]),
    "report": Kind(REPORT, [SHORT, REPORT], name="report"),
}
JOB_STEPS = 90  # of a training of a sweep, about
PARENT_DEATH_SIGNAL, SUBREAPER = 1, 36  # of prctl, on Linux


class Forked:
    """Stands for a process of a sweep: a copy of this one, which has imported everything."""

    def __init__(self, command: Sequence[str], *, stdout: int, stderr: int, env: object) -> None:
        parent = os.getpid()
        self.number = os.fork()
        if self.number == 0:
            ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(143)
            for stream in (1, 2):
                os.dup2(stdout.fileno(), stream)  # type: ignore[attr-defined]
            # Another thread may have held the locks of the old ones.
            sys.stdout, sys.stderr = (os.fdopen(stream, "w", 1, closefd=False) for stream in (1, 2))
            status = 1
            try:
                main(command[command.index("inference.scripts") + 1 :])
                status = 0
            except SystemExit as error:
                status = int(error.code or 0)
            finally:
                os._exit(status)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])

    def terminate(self) -> None:
        os.kill(self.number, signal.SIGTERM)


def hurry() -> None:
    """Let fits keep their state after every epoch, reports judge samples quickly, and sweeps copy this process; import all that is used."""
    torch.set_num_threads(1)
    state._EVERY = 0.0
    leftovers._QUIET_SECONDS = 0
    report._diagnosed = lambda runs: {}
    quality.default_features = lambda train, labels: pca_features(train)
    sweep.subprocess = SimpleNamespace(Popen=Forked)
    with TemporaryDirectory() as folder, redirect_stdout(None):
        main([word.format(folder) for word in KINDS["compare"].words])


def run(words: Sequence[str], folder: Path, steps: Steps | None = None, seconds: float | None = None, stop: int = signal.SIGKILL) -> Ended:
    """Run a command, which ends at some step or after some seconds, together with its own processes."""
    ended = in_child(lambda: main([word.format(folder) for word in words]), steps or Steps(folder), seconds, stop)
    while True:  # those of a sweep that has been killed; they end by themselves
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return ended


def ends(folder: Path) -> dict[str, object]:
    """What a folder holds, without what no two runs share: dates, times and versions."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name == "checkpoint.safetensors":
            found[name] = {key: tensor.tolist() for key, tensor in load_file(path).items()}
        elif path.name == "history.csv":
            found[name] = pd.read_csv(path).drop(columns="seconds").to_dict("list")
        elif path.suffix == ".nc":
            found[name] = Evaluation.from_netcdf(path).log_px.tolist()
        elif path.name == "comparison.csv":
            found[name] = path.read_text()
        elif path.name != "manifest.json":
            found[name] = None
    return found


def prepared(kind: Kind, folder: Path) -> None:
    for words in kind.before:
        ended = run(words, folder)
        assert ended.status == 0, ended.said


def differences(kind: Kind, folder: Path, wanted: dict[str, object]) -> str:
    """Give a command for the last time, and say what is then not as it should be; nothing if all is."""
    if (ended := run(kind.words, folder)).status:
        return f"ended with status {ended.status}: {ended.said}"
    if (ended := run(("runs", "{}", "--clean"), folder)).status:
        return f"was not tidied up: {ended.said}"
    got = ends(folder / kind.name)
    wrong = [key for key in {**got, **wanted} if got.get(key, "missing") != wanted.get(key, "missing")]
    wrong += [path.name for path in folder.iterdir() if path.name not in ("run", kind.name)]
    wrong += [name for path in folder.rglob("summary.yaml") for name in strangers(path.parent, RUN) if kind.name == "run"]
    return ", ".join(wrong)


def uninterrupted(kind: Kind) -> tuple[dict[str, object], list[str], float]:
    """What a command ends with, its steps, and how many seconds it takes."""
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        prepared(kind, folder)
        start = time.perf_counter()
        ended = run(kind.words, folder)
        assert ended.status == 0, ended.said
        steps = [f"a job's step {number}" for number in range(1, JOB_STEPS)] if kind.in_copies else ended.steps
        return ends(folder / kind.name), steps, time.perf_counter() - start


def killed_at_moments(kind: Kind, wanted: dict[str, object], moments: Sequence[float]) -> str:
    """Kill a command after some seconds, again and again, and say what is then wrong."""
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        prepared(kind, folder)
        for after in moments:
            if (ended := run(kind.words, folder, seconds=after)).status not in (None, 0):
                return f"did not go on: {ended.said}"
        return differences(kind, folder, wanted)


def killed_at_steps(kind: Kind, wanted: dict[str, object], kills: Sequence[tuple[int, str]]) -> str:
    """Kill a command at steps, by their numbers since it went on, and say what is then wrong."""
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        prepared(kind, folder)
        for at, what in kills:
            ended = run(kind.words, folder, Steps(folder, at, what, kind.in_copies))
            if ended.status not in (None, 0) and "runs have failed" not in ended.said:  # as its own processes may be killed, too
                return f"did not go on: {ended.said}"
        return differences(kind, folder, wanted)


def full_at(kind: Kind, wanted: dict[str, object], at: int, what: str) -> str:
    """Let the disk be full from a step on: one line names a file, and the command goes on once there is room; say what is wrong."""
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        prepared(kind, folder)
        before = ends(folder / kind.name)
        ended = run(kind.words, folder, Steps(folder, at, what, kind.in_copies))
        lost = [name for name in before if ended.status and name not in ends(folder / kind.name)]
        return wrong_words(ended, folder) or ", ".join(lost) or differences(kind, folder, wanted)


def wrong_words(ended: Ended, folder: Path) -> str:
    """What is wrong with what a command has said about a full disk; nothing if it is one line that names a file, or if all was written."""
    lines = [line for line in ended.said.splitlines() if line and not line.startswith("fit:")]
    if ended.status == 0 and not lines:
        return ""
    is_right = ended.status == 2 and len(lines) == 1 and lines[0].startswith("error: ") and str(folder) in lines[0]
    return "" if is_right else f"status {ended.status}: {ended.said}"


def trial(how: str, number: int, kind: Kind, wanted: dict[str, object], steps: Sequence[str], seconds: float) -> tuple[str, str]:
    """Make a trial; return what was done, and what was then wrong."""
    if how == "random":
        moments = [random.uniform(0, seconds) for _ in range(random.choice([1, 1, 2, 3]))]
        return f"killed after {moments} s", killed_at_moments(kind, wanted, moments)
    is_open = steps[number - 1].startswith("open")
    if how == "full":
        what = random.choice([FULL, LIMIT]) if is_open else FULL
        return f"{what} from {number}, {steps[number - 1]}", full_at(kind, wanted, number, what)
    kills = [(number, random.choice([KILL, HALF]) if is_open else KILL)]
    kills += random.choice([[], [(random.randint(1, len(steps)), KILL)]])
    return f"{kills}, {steps[number - 1]}", killed_at_steps(kind, wanted, kills)


def trials(how: str, count: int, seed: int, kinds: Sequence[str] = tuple(KINDS)) -> list[str]:
    """Make trials, ``count`` of each kind at chosen steps, or in all at random moments, and return what went wrong."""
    random.seed(seed)
    wrong, made = [], 0
    for place, kind in enumerate(kinds):
        wanted, steps, seconds = uninterrupted(KINDS[kind])
        numbers = sorted(random.sample(range(1, len(steps) + 1), min(count, len(steps))))
        numbers = list(range(place, count, len(kinds))) if how == "random" else numbers
        print(f"{kind}: {len(steps)} steps in {seconds:.1f} s, {len(numbers)} trials", flush=True)
        for number in numbers:
            words, found = trial(how, number, KINDS[kind], wanted, steps, seconds)
            made += 1
            print(f"{kind}, {words}: {found or 'right'}", flush=True)
            wrong += [f"{kind}, {words}: {found}"] if found else []
    print(f"{made} trials with seed {seed}, {len(wrong)} of them wrong")
    return wrong


def same_table() -> bool:
    """Whether a sweep that is killed, stopped and finished writes the table of a whole one, byte for byte."""
    priors, end = ("standard", "mixture", "vamp", "maf"), ("--over", "seed", "0", "1", "2", "--fit.epochs=3", "--evaluate.num_particles=20")
    words = ("sweep", "--out={}/all", "--over", "model.prior", *priors, *end, *TINY, "--model.num_components=5")
    with TemporaryDirectory() as name:
        one, other = Path(name).resolve() / "whole", Path(name).resolve() / "killed"
        start = time.perf_counter()
        assert run(words, one).status == 0
        seconds = time.perf_counter() - start
        for stop in (signal.SIGKILL, signal.SIGTERM):
            ended = run(words, other, seconds=seconds / 3, stop=stop)
            finished = len(list(other.glob("all/*/summary.yaml")))
            print(f"{stop.name}: status {ended.status}, {finished} of 12 runs finished, {len(list(other.glob('all/*.partial')))} partial")
        assert (ended := run(words, other)).status == 0, ended.said
        return (one / "all" / "comparison.csv").read_bytes() == (other / "all" / "comparison.csv").read_bytes()


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(SUBREAPER, 1)  # of the processes of a sweep that has been killed
    if sys.argv[1] == "table":
        print("the same table" if (is_same := same_table()) else "another table")
        sys.exit(not is_same)
    hurry()
    how, count, *others = sys.argv[1:]
    sys.exit(bool(trials(how, int(count), int(others[0]) if others else 0, others[1:] or tuple(KINDS))))
