"""Compares two sweeps, the second given labels, and finds labels: ``python benchmarks/conditional.py UNCONDITIONAL CONDITIONAL``.

Prints the comparison of the two recipes over seeds, and for each conditional run the share of 500 random test images whose most probable
label, with equal priors and 100 draws for each label, is theirs.
"""

from pathlib import Path
import sys

import torch

from inference import class_posterior, compare_recipes, load_run
from inference.runs.saved import SavedRun
from pyro_lvm.rows.lazy import plain

IMAGES, DRAWS = 500, 100


def runs_of(folder: Path) -> list[SavedRun]:
    """The runs of a sweep."""
    return [load_run(config.parent) for config in sorted(folder.glob("*/config.yaml"))]


def main(unconditional: Path, conditional: Path) -> None:
    """Compare the recipes, and find labels."""
    runs = {"conditional": runs_of(conditional), "unconditional": runs_of(unconditional)}
    print(compare_recipes({name: [next(iter(run.scores.values())) for run in own] for name, own in runs.items()}))
    for run in runs["conditional"]:
        x, y = run.data.batch("test")
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:IMAGES]
        posterior = class_posterior(run.pair, (plain(x[rows]), y[rows]), num_labels=10, num_particles=DRAWS, progress=False)
        share, error = posterior.accuracy(y[rows])
        print(f"\n{run.folder.name}: {share:.3f} ± {error:.3f} of {IMAGES} labels are found.", posterior, sep="\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
