"""What it is worth to update guide and model in turn: ``python benchmarks/alternating.py [EPOCHS]``.

Fits a VAE and a hierarchy of two levels to the digits in three ways, three seeds each: all parameters in every update (joint); guide and
model in turn on every batch (alternating, ``fit(..., alternating=True)``); and five updates of the guide on every batch before one of the
model, in the manner of the aggressive updates of He et al. (2019, https://arxiv.org/abs/1901.05534), who repeat them until the guide's loss
no longer falls. Last come joint updates with six times the epochs, as many updates as the aggressive ones. Prints a table: log p(x) of the
test images, the paired difference to joint updates with the error of its mean over seeds, active units, and seconds. All keep the weights
of the best validation loss.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
import sys
from unittest.mock import patch

import torch

from inference import evaluate, fit, load_data
from inference.diagnostics.usage import latent_use
from inference.svi import fitting
from inference.svi.training import Training
import pyro_lvm as lvm

UPDATES = {"joint": 0, "alternating": 1, "aggressive, 5": 5, "joint, longer": 0}  # of the guide for each of the model; 0 for both at once
LONGER = 6  # times the epochs, which makes as many updates as five of the guide and one of the model
SEEDS = range(3)


def vae() -> lvm.VAE:
    """A VAE of 8 latents."""
    likelihood = lvm.BernoulliLikelihood(lvm.MLP(8, [128], 64))
    return lvm.VAE(lvm.StandardNormal(8), likelihood, lvm.NormalEncoder(lvm.MLP(64, [128], 16)))


def hierarchy() -> lvm.HierarchicalVAE:
    """Two levels of 8 latents."""
    return lvm.HierarchicalVAE(lvm.StandardNormal(8), lvm.stacked(64, [8, 8], [128, 128]), lvm.BernoulliLikelihood(lvm.MLP(16, [128], 64)))


def _repeated(count: int, pair: object, batches: object, steps: object, optimizers: list, modules: list) -> Training:
    guide, *rest = optimizers
    return Training(pair, batches, steps, [guide] * count + rest, modules)


@contextmanager
def guide_updates(count: int) -> Iterator[None]:
    """Let the guide's optimizer take several turns on every batch."""
    with patch.object(fitting, "Training", partial(_repeated, count)):
        yield


def fitted(make: Callable[[], object], updates: int, epochs: int, seed: int) -> tuple[torch.Tensor, int, float]:
    """Return log p(x) of the test images, the number of active units, and the seconds of a fit."""
    data = load_data("digits")
    torch.manual_seed(seed)
    pair = make()
    with guide_updates(max(updates, 1)):
        result = fit(pair, data, epochs=epochs, learning_rate=3e-3, seed=seed, alternating=updates > 0, progress=False)
    use = latent_use(pair, data.train)
    active = sum(len(each) for each in use.unit_variances.values()) - sum(map(len, use.collapsed.values()))
    return evaluate(pair, data.test, progress=False).log_px, active, result.history["seconds"].sum()


def main(epochs: int = 200) -> None:
    """Print a row for each model and way of updating."""
    print("| model | updates | log p(x) | difference | active units | seconds |\n|---|---|---:|---:|---:|---:|")
    for make in (vae, hierarchy):
        joint = None
        for name, updates in UPDATES.items():
            length = LONGER * epochs if name.endswith("longer") else epochs
            scores, active, seconds = zip(*(fitted(make, updates, length, seed) for seed in SEEDS), strict=True)
            means = torch.stack([score.mean() for score in scores])
            joint = means if joint is None else joint
            gain = means - joint
            error = gain.std() / len(gain) ** 0.5
            difference = "" if name == "joint" else f"{gain.mean():.2f} ± {error:.2f}"
            units = " ".join(map(str, active))
            print(f"| {make.__name__} | {name} | {means.mean():.2f} | {difference} | {units} | {sum(seconds):.0f} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
