"""``make bench``: what a step and a score cost, in ratios of one interleaved run; every contender is a process of its own.

Prints Markdown: ``python benchmarks/bench.py > docs/benchmarks.md``. Contenders whose library is not installed (numpyro, pythae: the extra ``bench``) are left out.
"""

from collections.abc import Iterable
from importlib.util import find_spec
import os
from pathlib import Path
import platform
from statistics import median
import subprocess
import sys

import torch

HERE = Path(__file__).parent
BY_HAND = "by hand, torch.compile"
EVERYONE = (
    "by hand, eager",
    BY_HAND,
    "Pyro's tutorial",
    "Pyro's tutorial, validation off",
    "ours, eager",
    "ours, compiled",
    "numpyro, jit",
    "numpyro, scan of 8 steps",
    "pythae",
)
WITHOUT_PEERS = ("by hand, eager", BY_HAND, "ours, eager", "ours, compiled")
STEPS = [
    ("VAE 784-300-300-40", "vae", 100, EVERYONE),
    ("VAE 784-300-300-40", "vae", 512, EVERYONE),
    ("tiny VAE 64-32-8", "tiny", 32, EVERYONE),
    ("VampPrior(500)", "vamp", 100, (*WITHOUT_PEERS, "pythae")),
    ("IWAE, 5 particles", "iwae", 100, (*WITHOUT_PEERS, "Pyro's tutorial", "pythae")),
    ("IAF guide", "iaf", 100, WITHOUT_PEERS),
]
PEERS = ("numpyro", "pythae")
ROUNDS, SECONDS = 7, 0.4


class Contender:
    """A process that makes as many steps as it is told and says how long they took."""

    def __init__(self, script: str, *arguments: object, threads: int) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}"}
        command = [sys.executable, "-W", "ignore", HERE / script, *map(str, arguments), str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        if threads == 1:
            os.sched_setaffinity(self.process.pid, {0})
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{arguments} did not start; run it by itself: {' '.join(map(str, command))}")

    def seconds(self, count: int) -> float:
        """Seconds that ``count`` steps take."""
        print(count, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def interleaved(contenders: dict[str, Contender]) -> dict[str, list[float]]:
    """Milliseconds a step of every contender in every round."""
    counts = {name: 8 * max(1, round(SECONDS / contender.seconds(8))) for name, contender in contenders.items()}
    times = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            times[name].append(1e3 * contender.seconds(counts[name]) / counts[name])
    for contender in contenders.values():
        contender.close()
    return times


def step_rows(what: str, size: int, names: Iterable[str], threads: int) -> Iterable[str]:
    """Lines of a table: median, fastest round, and the median ratio to the reference in the same round."""
    names = [name for name in names if name.split(",")[0] not in PEERS or find_spec(name.split(",")[0])]
    times = interleaved({name: Contender("contenders.py", name, what, size, threads=threads) for name in names})
    for name in names:
        ratio = median(own / reference for own, reference in zip(times[name], times[BY_HAND]))
        yield f"| {name} | {median(times[name]):.2f} | {min(times[name]):.2f} | {ratio:.2f} |"


def score_rows(threads: int) -> Iterable[str]:
    """Lines of a table: milliseconds an image at K = 5000, against the matrix products alone."""
    names = ("matrix products", "standard, eager", "standard", "vamp", "mixture", "infer.Importance")
    times = interleaved({name: Contender("scores.py", name, threads=threads) for name in names})
    for name in names:
        ratio = median(own / reference for own, reference in zip(times[name], times["matrix products"]))
        yield f"| {name} | {median(times[name]):.1f} | {min(times[name]):.1f} | {ratio:.2f} |"


def machine() -> str:
    """The machine and the versions, in a line."""
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), platform.processor())
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, torch {torch.__version__}"


def main() -> None:
    print("# Benchmarks\n")
    print(f"What `make bench` printed. {machine()}. Every contender is a process of its own; {ROUNDS} rounds, interleaved; ratios are")
    print("medians over the rounds, to hand-written `torch.compile` with fused Adam (steps) or to the matrix products alone (scores).")
    for threads in (1, 2):
        for title, what, size, names in STEPS:
            print(f"\n## {title}, batch {size}, {threads} thread{'s' * (threads > 1)}\n")
            print("| a step | median ms | fastest ms | ratio |\n|---|---:|---:|---:|")
            for row in step_rows(what, size, names, threads):
                print(row, flush=True)
        print(f"\n## Importance sampling, K = 5000, decoder 40-300-300-784, {threads} thread{'s' * (threads > 1)}\n")
        print("| an image | median ms | fastest ms | ratio |\n|---|---:|---:|---:|")
        for row in score_rows(threads):
            print(row, flush=True)


if __name__ == "__main__":
    main()
