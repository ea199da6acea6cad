"""``make bench``: the cost of a training step and of a score, as ratios from one interleaved run; every contender is its own process.

Prints Markdown: ``python benchmarks/bench.py > docs/benchmarks/NAME.md``, or with ``--device cuda`` for a CUDA device. numpyro and
pythae (the extra ``bench``) are left out if they are not installed, and on CUDA always.
"""

from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
import os
from pathlib import Path
import platform
from statistics import median
import subprocess
import sys
from typing import NamedTuple

import torch

from inference.tracing.precision import has_bfloat16

HERE = Path(__file__).parent
BY_HAND = "by hand, torch.compile"
CUDA_GRAPHS = "by hand, torch.compile, CUDA graphs"
FLOOR = "matrix products"
EVERYONE = (
    FLOOR,
    "by hand, eager",
    BY_HAND,
    CUDA_GRAPHS,
    "Pyro's tutorial",
    "Pyro's tutorial, validation off",
    "ours, eager",
    "ours, compiled",
    "numpyro, jit",
    "numpyro, scan of 8 steps",
    "pythae",
)
WITHOUT_PEERS = ("by hand, eager", BY_HAND, CUDA_GRAPHS, "ours, eager", "ours, compiled")
STEPS = [
    ("VAE 784-300-300-40", "vae", 100, EVERYONE),
    ("VAE 784-300-300-40", "vae", 512, EVERYONE),
    ("tiny VAE 64-32-8", "tiny", 32, EVERYONE),
    ("VampPrior(500)", "vamp", 100, (*WITHOUT_PEERS, "pythae")),
    ("IWAE, 5 particles", "iwae", 100, (FLOOR, *WITHOUT_PEERS, "Pyro's tutorial", "pythae")),
    ("DReG, 5 particles", "dreg", 100, (FLOOR, *WITHOUT_PEERS)),
    ("IAF guide", "iaf", 100, WITHOUT_PEERS),
    ("two levels, 40 latents each", "hvae", 100, WITHOUT_PEERS),
    ("VQ, 8 of 512 codes, codebook by gradient", "vq", 100, (*WITHOUT_PEERS, "pythae")),
]
SCORES = (  # ordered so that the closest comparisons take turns one right after the other
    FLOOR,
    "standard",
    "standard, bf16",
    "vamp",
    "mixture",
    "standard, eager",
    "matrix products, bf16",
    "pythae, get_nll",
    "pythae, get_nll, chunks of 1000",
    "infer.Importance",
)
GROWTH = [
    ("standard", {"particles": 5000}),
    ("standard", {"particles": 500}),
    ("standard", {"particles": 50000}),
    ("standard", {"latents": 10}),
    ("standard", {"latents": 160}),
    ("vamp", {"components": 100}),
    ("vamp", {"components": 500}),
    ("vamp", {"components": 2000}),
]
WHOLE = ("standard, whole", "standard, bf16, whole")
NUM_DATA = (100, 1000, 10000)
PEERS = ("numpyro", "pythae")


class Rounds(NamedTuple):
    """How many turns every contender has, and how long a turn lasts."""

    count: int
    seconds: float


OF_STEPS, OF_SCORES, OF_GROWTH = Rounds(21, 0.2), Rounds(15, 3.0), Rounds(7, 0.4)


@dataclass(frozen=True)
class Place:
    """Where contenders run: on a device, fed by a number of threads of the processor."""

    device: str
    threads: int

    def __str__(self) -> str:
        return f"{self.threads} thread{'s' * (self.threads > 1)}" if self.device == "cpu" else self.device

    def has(self, name: str) -> bool:
        """Whether a contender can run: its library is installed, or the device has what it needs."""
        library = name.split(",")[0]
        if library in PEERS:
            return self.device == "cpu" and find_spec(library) is not None
        if name == CUDA_GRAPHS:
            return self.device != "cpu"
        return "bf16" not in name or has_bfloat16(torch.device(self.device))

    def description(self) -> str:
        """The machine and the versions, in one line."""
        model = next(
            (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
            platform.processor(),
        )
        processor = f"{model}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores"
        device = "" if self.device == "cpu" else f"{torch.cuda.get_device_name(self.device)}, fed by one thread of "
        return f"{device}{processor}; Python {platform.python_version()}, torch {torch.__version__}"


class Contender:
    """A process that repeats its task a given number of times and reports how long that took."""

    def __init__(self, place: Place, script: str, *arguments: object) -> None:
        threads = place.threads
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}",
        }
        arguments += "--threads", threads, "--device", place.device
        self.command = [sys.executable, "-W", "ignore", str(HERE / script), *map(str, arguments)]
        self.threads = threads
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def wait_until_ready(self) -> None:
        """Return once everything is built, compiled and warm; all contenders of a table do that at the same time."""
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"a contender did not start; run it by itself: {' '.join(self.command)}")
        if self.threads == 1:
            for thread in os.listdir(f"/proc/{self.process.pid}/task"):
                os.sched_setaffinity(int(thread), {0})

    def seconds(self, count: int) -> float:
        """Seconds that ``count`` repetitions take."""
        print(count, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def peak_memory(self) -> float:
        """Peak memory since the start, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def steps(what: str, size: int, names: Iterable[str], place: Place) -> dict[str, Contender]:
    """Processes that take training steps, by name."""
    return {name: Contender(place, "contenders.py", name, what, size) for name in filter(place.has, names)}


def scores(who: str, place: Place, **options: int) -> Contender:
    """A process that scores images."""
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    return Contender(place, "scores.py", who, *flags)


def interleaved(contenders: dict[str, Contender], multiple: int, rounds: Rounds) -> dict[str, list[float]]:
    """Milliseconds per repetition of every contender in every round.

    Repetitions are counted in multiples of ``multiple``. Some are untimed before each turn, as memory is slow at first after idling.
    """
    for contender in contenders.values():
        contender.wait_until_ready()
    counts = {name: multiple * max(1, round(rounds.seconds / contender.seconds(multiple))) for name, contender in contenders.items()}
    times = {name: [] for name in contenders}
    for _ in range(rounds.count):
        for name, contender in contenders.items():
            if counts[name] > multiple:
                contender.seconds(multiple)
            times[name].append(1e3 * contender.seconds(counts[name]) / counts[name])
    return times


def table(contenders: dict[str, Contender], reference: str, what: str, *, multiple: int, rounds: Rounds, with_memory: bool = False) -> None:
    """Print median, fastest round, and the median ratio to the reference in the same round."""
    times = interleaved(contenders, multiple, rounds)
    columns = ["median ms", "fastest ms", "ratio", *["peak MiB"] * with_memory]
    print(f"| {what} | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for name, contender in contenders.items():
        ratio = median(own / first for own, first in zip(times[name], times[reference], strict=True))
        memory = f" {contender.peak_memory():.0f} |" if with_memory else ""
        print(f"| {name} | {median(times[name]):.2f} | {min(times[name]):.2f} | {ratio:.2f} |{memory}", flush=True)
        contender.close()


def growth(place: Place) -> None:
    """Print how the cost of a score grows with K, the number of latents and the components of a VampPrior, and then with N."""
    contenders = {
        f"{who}, {value} {name}": scores(who, place, **{name: value}) for who, options in GROWTH for name, value in options.items()
    }
    table(contenders, next(iter(contenders)), "an image", multiple=8, rounds=OF_GROWTH, with_memory=True)
    print("\nWhole data sets, standard prior, K = 5000; all of `evaluate`, compilation included:\n")
    print("| of | N | seconds | ms an image | peak MiB |\n|---|---:|---:|---:|---:|")
    for name in filter(place.has, WHOLE):
        for N in NUM_DATA:
            whole = scores(name, place)
            whole.wait_until_ready()
            seconds = whole.seconds(N)
            print(f"| {name} | {N} | {seconds:.1f} | {1e3 * seconds / N:.1f} | {whole.peak_memory():.0f} |", flush=True)
            whole.close()


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", nargs="+", choices=sorted({row[1] for row in STEPS}), help="only the training steps of these models")
    options = parser.parse_args()
    device = options.device
    places = [Place("cpu", 1), Place("cpu", 2)] if device == "cpu" else [Place(device, 1)]
    print("# Benchmarks\n")
    print(f"Output of `make bench`. {places[0].description()}. Every contender is its own process;")
    print(f"{OF_STEPS.count} rounds of steps and {OF_SCORES.count} of scores are interleaved, each turn after an untimed start. Ratios are")
    print("medians over the rounds, relative to hand-written `torch.compile` with fused Adam (steps) or to the matrix products alone")
    print("(scores). The matrix products of a step are those of its networks, forward and backward, and nothing else.")
    for place in places:
        for title, what, size, names in [row for row in STEPS if options.only is None or row[1] in options.only]:
            print(f"\n## {title}, batch {size}, {place}\n")
            table(steps(what, size, names, place), BY_HAND, "a step", multiple=8, rounds=OF_STEPS)
        if options.only is not None:
            continue
        print(f"\n## Importance sampling, K = 5000, decoder 40-300-300-784, {place}\n")
        table({name: scores(name, place) for name in filter(place.has, SCORES)}, FLOOR, "an image", multiple=4, rounds=OF_SCORES)
    print(f"\n## How the cost of a score grows, {place}\n")
    growth(place)


if __name__ == "__main__":
    main()
