"""Kills commands at random moments, lets them go on, and compares what they end with to what an uninterrupted one does.

``OMP_NUM_THREADS=1 python tests/kills.py 100 [SEED]`` from the root of the repository; the suite makes a few of these trials.
"""

from collections.abc import Sequence
import os
from pathlib import Path
import random
import signal
import sys
from tempfile import TemporaryDirectory
import time

import pandas as pd
from safetensors.torch import load_file
import torch

from inference import Evaluation
from inference.scripts.cli import main
from inference.svi import state

TINY = ("--model.hidden", "[8]", "--model.latent_dim", "2", "--fit.batch_size", "400", "--fit.patience", "null")
TRAIN = ("train", "--out", "{}/run", "--fit.epochs", "25", *TINY, "--resume")
SCORE = ("evaluate", "{}/run", "--num_particles", "100")
COMPARE = ("compare", "--out", "{}/all", "--priors", "[standard,mixture]", "--fit.epochs", "12", *TINY)
COMPARE = (*COMPARE, "--evaluate.num_particles", "20", "--resume")
KINDS = {"train": (TRAIN, "run"), "evaluate": (SCORE, "run"), "compare": (COMPARE, "all")}


def started(words: Sequence[str], folder: Path) -> int:
    """Start a command in a copy of this process, which has imported everything, and return its number."""
    child = os.fork()
    if child:
        return child
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    status = 1
    try:
        torch.set_num_threads(1)
        state._EVERY = 0.0
        main([word.format(folder) for word in words])
        status = 0
    except SystemExit as error:
        status = int(error.code or 0)
    finally:
        os._exit(status)


def run(words: Sequence[str], folder: Path, seconds: float | None = None) -> int | None:
    """Run a command, and kill it after some seconds; return its status, or None if it was killed."""
    child = started(words, folder)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else None


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


def trial(kind: str, folder: Path, wanted: dict[str, object], kills: Sequence[float]) -> str:
    """Kill a command some times, run it to its end, and say what is then not as it should be; nothing if all is."""
    words, name = KINDS[kind]
    if kind == "evaluate":
        run(TRAIN, folder)
    for seconds in kills:
        if run(words, folder, seconds) not in (None, 0):
            return "refused to go on"
    if status := run(words, folder):
        return f"ended with status {status}"
    got = ends(folder / name)
    wrong = [key for key in {**got, **wanted} if got.get(key, "missing") != wanted.get(key, "missing")]
    left = [path.name for path in folder.iterdir() if path.name != name]
    return ", ".join(wrong) or ", ".join(left)


def trials(count: int, seed: int, kinds: Sequence[str] = tuple(KINDS)) -> list[str]:
    """Make trials of each kind in turn, and return what went wrong."""
    random.seed(seed)
    wrong, wanted, seconds = [], {}, {}
    for kind in kinds:
        with TemporaryDirectory() as folder:
            if kind == "evaluate":
                run(TRAIN, Path(folder))
            start = time.perf_counter()
            assert run(KINDS[kind][0], Path(folder)) == 0
            seconds[kind], wanted[kind] = time.perf_counter() - start, ends(Path(folder) / KINDS[kind][1])
    for number in range(count):
        kind = kinds[number % len(kinds)]
        with TemporaryDirectory() as folder:
            kills = [random.uniform(0, seconds[kind]) for _ in range(random.choice([1, 1, 2, 3]))]
            if words := trial(kind, Path(folder), wanted[kind], kills):
                wrong.append(f"trial {number} ({kind}, killed after {kills}): {words}")
                print(wrong[-1], flush=True)
    return wrong


if __name__ == "__main__":
    found = trials(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(f"{sys.argv[1]} trials, {len(found)} of them wrong")
    sys.exit(bool(found))
