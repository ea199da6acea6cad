"""Parts of your own for the command line: ``pyro-lvm train --plugin my_parts.py --model.prior learned-scale --out runs/mine``.

A builder's positional parameters are what it is given, as `inference/recipes/registries.py` lists them for each kind of part; its
keyword-only parameters, each with a type and a default, are its options, with their lines in its docstring as help.
"""

from pathlib import Path
from typing import Any

from jsonargparse.typing import PositiveFloat, PositiveInt
import numpy as np
import pandas as pd
import pyro.distributions as dist
from pyro.distributions import TorchDistribution
import torch
from torch import Tensor, nn

from inference import Evaluation
from inference.data.fingerprint import data_id
from inference.data.published.datasets import Content
from inference.recipes.fitted_priors import Expost, under
from inference.recipes.registries import DATASETS, EXPOST, METHODS, PRIORS, TRACKERS
from inference.scoring.reduction import curve_particles, reduce_log_weights
from pyro_lvm.testing import check_prior


class LearnedScalePrior(nn.Module):
    r"""A normal prior with learned scales.

    .. math:: p(z) = \prod_d \mathcal N(z_d \mid 0, s_d^2)
    """

    loc: Tensor

    def __init__(self, latent_dim: int, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.log_scale = nn.Parameter(torch.full((latent_dim,), scale).log())

    def forward(self) -> TorchDistribution:
        return dist.Normal(self.loc, self.log_scale.exp()).to_event(1)


@PRIORS.register("learned-scale")
def learned_scale(*, latent_dim: PositiveInt = 8, start_scale: PositiveFloat = 1.0) -> nn.Module:
    """Build a normal prior with learned scales.

    Args:
        start_scale: Initial scale of the learned-scale prior.
    """
    return LearnedScalePrior(latent_dim, start_scale)


@DATASETS.register("stripes")
def stripes(seed: int) -> Content:
    rng = np.random.default_rng(seed)
    rows = {split: rng.random((n, 2)) for split, n in {"train": 200, "valid": 50, "test": 50}.items()}
    images = {split: (u[:, :1] * 6 > np.arange(6)).astype(np.float32) for split, u in rows.items()}  # [N, 6]
    return Content("stripes", f"stripes of 6 pixels, drawn with seed {seed}", images)


@EXPOST.register("scaled")
def scaled() -> Expost:
    def fitted(pair: Any, codes: Tensor, valid: Tensor, recipe: object) -> Any:
        prior = LearnedScalePrior(codes.shape[1])
        with torch.no_grad():
            prior.log_scale.copy_(codes.square().mean(0).sqrt().log())
        return under(pair, prior)

    def blank(pair: Any, codes: Tensor, recipe: object, shapes: object) -> Any:
        return under(pair, LearnedScalePrior(codes.shape[1]))

    return Expost(fit=fitted, blank=blank)


@METHODS.register("prior-draws", num_particles=200)
def prior_draws(pair: Any, batch: tuple[Tensor, ...], *, num_particles: PositiveInt | None = None, seed: int = 0) -> Evaluation:
    """Score with the prior as proposal.

    Args:
        num_particles: Draws of z for each datum.
        seed: Seed of the draws.
    """
    (x,), K = batch, num_particles or 200
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        z = pair.prior().sample((K, len(x)))  # [K, B, D]
        log_weights = pair.likelihood(z).log_prob(x)  # [K, B]
    return Evaluation(
        **reduce_log_weights(log_weights)._asdict(),
        curve_particles=curve_particles(K),
        num_particles=K,
        seed=seed,
        measure="mass",
        data_id=data_id(x),
        is_bound=False,
        num_dims=x[0].numel(),
    )


class Lines:
    """Writes a line for each epoch."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.file = (folder / "losses.txt").open("w")

    def __call__(self, history: pd.DataFrame) -> None:
        print(*history["train_loss"], file=self.file)

    def close(self) -> None:
        self.file.close()


@TRACKERS.register("lines", files=r"losses\.txt")
def lines(folder: Path) -> Lines:
    return Lines(folder)


def test_learned_scale_prior() -> None:
    """For pytest: ``pytest my_parts.py``."""
    check_prior(lambda: LearnedScalePrior(2))
