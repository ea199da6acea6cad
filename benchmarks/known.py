"""``make known``: every estimator on likelihoods that are known, the coverage of its intervals, and other libraries beside it.

Prints Markdown: ``PYTHONPATH=. python benchmarks/known.py > docs/known.md``. The entries are those of ``tests/known``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import sys
import time
import warnings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))  # before this folder, which has a file of the same name

import coverage
from known import deep
from known.entries import ALL
from known.estimators import DRAWS, ESTIMATORS
from known.registry import Entry
from known.verdicts import ERRORS, LEAST, Verdict, judge
import libraries
import torch

from inference.formatting import format_with_error
from inference.scoring.reduction import standard_error_of_mean

MANY = 5000
DEEP_LATENTS = (2, 8, 20)
NAMES = {"guide": f"guide, K = {DRAWS}", "auto": "auto", "refined": "refined", "ais": "AIS"}
COLUMNS = {NAMES[name]: score for name, score in ESTIMATORS.items()}
COLUMNS[f"guide, K = {MANY}"] = partial(ESTIMATORS["guide"], num_particles=MANY)

INTRODUCTION = f"""# Known likelihoods

Output of `make known`: models whose log p(x) is known for every datum, with good guides and bad ones, from `tests/known`. What must
hold: a figure is right within its interval ({ERRORS:g} Monte Carlo errors and the bias; at least {LEAST} nat), or it is marked.
"""
ENTRIES = """## Every estimator on every entry

A cell: mean of log p-hat(x) - log p(x) over the data, in nats; share of the data within the interval; share marked. **Bold**: some
datum is outside its interval and not marked. Must: what a trustworthy evaluator says. k: the true Pareto shape of the weights under
the guide, where it is known.
"""
DEEP = f"""## Deep decoders, bracketed

Networks of three layers with random weights, {deep.PIXELS} binary values, {deep.NUM_DATA} data simulated from the model.
Bounds: annealed importance sampling from both sides, {deep.CHAINS} chains of {deep.STEPS} steps. A cell: how far the estimate lies
below the upper bound and above the lower one, in nats, with standard errors over the data; share marked. Both must be positive within
their errors, or the data marked.
"""
COVERAGE = f"""## Coverage of {coverage.LEVEL:.0%} intervals

The model is z ~ N(0, I), x ~ N(z, I); the guide is a normal of another width or place than the posterior; K = {DRAWS}.

### Of a datum, where it is not marked

{coverage.REPETITIONS} data for each row.
"""
MEANS = f"""### Of a mean

{coverage.REPETITIONS} samples of N out of {coverage.POOL} data, marked ones included. The rows "exact" have log p(x) itself, which is
skewed: no t interval of a few such numbers covers.
"""
DIFFERENCES = """### Of a difference between two models

The differences per datum are normal, and both guides exact.
"""
OTHERS = f"""## Other libraries

K = {libraries.DRAWS}. A cell: mean error in nats; how many data are off by more than {libraries.WRONG} nat, and for how many of these
the library says so. What Pyro says: its `psis_diagnostic`, called for one datum at a time, with other draws than the estimate, is above
{libraries.MARK} (for a batch it is one number for all data), or it warns. `Importance` makes one draw at a time and was run on
{libraries.LOOPED} data of an entry. "Cannot": the models of pythae and scvi-tools have one latent with a standard normal prior and a
normal guide; the likelihood of a VAE of pythae is Bernoulli, or normal with variance 1.
"""


def print_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    names = list(header)
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print()


@dataclass
class Tally:
    """What an estimator did on all entries."""

    entries: int = 0
    data: int = 0
    marked: int = 0
    wrong: int = 0
    wrong_entries: int = 0
    seconds: float = 0.0

    def add(self, verdict: Verdict, seconds: float) -> None:
        self.entries += 1
        self.data += len(verdict.off)
        self.marked += int(verdict.marked.sum())
        self.wrong += int(verdict.silently_wrong.sum())
        self.wrong_entries += bool(verdict.silently_wrong.any())
        self.seconds += seconds

    def row(self) -> list[str]:
        return [*map(str, (self.entries, self.data, self.marked, self.wrong, self.wrong_entries)), f"{self.seconds:.1f}"]


def print_entries() -> None:
    print(ENTRIES)
    tallies = {name: Tally() for name in COLUMNS}
    header = ["model, guide", "kind of guide", "k", "log p(x) from", "must", *COLUMNS]
    print_table(header, (entry_row(entry, tallies) for entry in ALL.values()))
    print("### All entries together\n")
    header = ["estimator", "entries", "data", "data marked", "data wrong, not marked", "entries with such data", "seconds"]
    print_table(header, ([name, *tally.row()] for name, tally in tallies.items()))


def entry_row(entry: Entry, tallies: dict[str, Tally]) -> Iterator[str]:
    yield from (entry.name, entry.guide, "" if entry.pareto_k is None else f"{entry.pareto_k:g}", entry.source, entry.must)
    for name, score in COLUMNS.items():
        yield scored(score, entry, tallies[name])


def scored(score: Callable, entry: Entry, tally: Tally) -> str:
    start = time.perf_counter()
    try:
        evaluation = score(entry.known.pair, entry.known.batch, 0)
    except ValueError as error:
        return f"refused: {str(error).split('. ')[0]}"
    verdict = judge(evaluation, entry.known)
    tally.add(verdict, time.perf_counter() - start)
    text = f"{nats(verdict.off)}, {percent(verdict.right)}, {percent(verdict.marked)}"
    return f"**{text}**" if verdict.silently_wrong.any() else text


def nats(off: torch.Tensor) -> str:
    """The mean error in nats."""
    mean = float(off.mean())
    if float(off.abs().max()) < 5e-5:
        return "0"
    return f"{mean:+.2f}" if abs(mean) >= 1 else f"{mean:+.4f}"


def percent(rows: torch.Tensor) -> str:
    return f"{float(rows.double().mean()):.0%}"


def print_coverage() -> None:
    print(COVERAGE)
    print_table(["latents", "guide", "k", *coverage.NAMES], coverage.of_data())
    print(MEANS)
    print_table(["latents", "k", "proposal", "N", "mean of these data", "mean of all data"], coverage.of_means())
    print(DIFFERENCES)
    rows = list(coverage.of_differences())
    print_table(["N", "within 2 standard errors", "within the t quantile", "in the interval stated"][: len(rows[0])], rows)


def print_others() -> None:
    print(OTHERS)
    for line in libraries.remarks():
        print(f"- {line}")
    print()
    rows = ([name, *library_cells(ALL[name], coverage.NAMES)] for name in libraries.ENTRIES)
    print_table(["model, guide", *(f"ours, {name}" for name in coverage.NAMES), *libraries.LIBRARIES], rows)


def library_cells(entry: Entry, ours: Sequence[str]) -> Iterator[str]:
    for name in ours:
        score = ESTIMATORS[name](entry.known.pair, entry.known.batch, 0)
        yield library_cell(libraries.Scored(score.log_px, judge(score, entry.known).marked), entry)
    for name in libraries.LIBRARIES:
        try:
            yield library_cell(libraries.score(name, entry), entry)
        except libraries.CannotError:
            yield "cannot"


def library_cell(scored: libraries.Scored, entry: Entry) -> str:
    off = scored.log_px - entry.known.log_px[: len(scored.log_px)]
    wrong = off.abs() > libraries.WRONG
    if not wrong.any():
        return nats(off)
    said = [] if scored.marked is None else [f"{int((wrong & scored.marked).sum())} marked"]
    said += ["warns"] if scored.warned else []
    return f"{nats(off)}, {int(wrong.sum())} of {len(off)} wrong, {', '.join(said) or 'no word'}"


def print_deep() -> None:
    print(DEEP)
    header = ["latents", "guide", "bounds from below, above", *(f"{name}: below upper, above lower, marked" for name in NAMES.values())]
    print_table(header, (deep_row(size, guide) for size in DEEP_LATENTS for guide in deep.GUIDES))


def deep_row(num_latents: int, guide: str) -> Iterator[str]:
    known = deep.deep(num_latents, guide)
    yield from (f"{num_latents}", guide, ", ".join(f"{float(bound.mean()):.3f}" for bound in (known.bounds.lower, known.bounds.upper)))
    for name in NAMES:
        score = ESTIMATORS[name](known.pair, known.bounds.data, 0)
        below, above = (
            format_with_error(float(gap.mean()), standard_error_of_mean(gap))
            for gap in (known.bounds.upper - score.log_px, score.log_px - known.bounds.lower)
        )
        yield f"{below}, {above}, {percent(score.is_unreliable)}"


SECTIONS = (print_entries, print_deep, print_coverage, print_others)


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(INTRODUCTION)
    if absent := [name for key, name in NAMES.items() if key not in ESTIMATORS]:
        print(f"Not in this version: {', '.join(absent)}.\n")
    for section in SECTIONS:
        section()


if __name__ == "__main__":
    main()
