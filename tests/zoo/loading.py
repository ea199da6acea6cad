"""Load the checkpoints of a folder into new pairs and write their figures: ``python -m zoo.loading FOLDER``."""

from pathlib import Path
import sys

import torch

from inference import load_checkpoint, log_weights
from pyro_lvm import check_pair
from zoo.entries import SCORED


def main(folder):
    torch.set_num_threads(1)
    figures = {}
    for name in sorted(SCORED, reverse=True):  # in another order than they were saved
        path = Path(folder) / f"{name}.safetensors"
        if path.exists():
            try:
                pair, batch = SCORED[name].pair(seed=5), SCORED[name].batch()
                check_pair(pair, *batch)
                load_checkpoint(pair, path)
                figures[name] = log_weights(pair, *batch, num_particles=3, seed=0)
            except Exception as error:
                figures[name] = f"{type(error).__name__}: {error}"
    torch.save(figures, Path(folder) / "figures.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
