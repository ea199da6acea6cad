"""What the models of a report are: their densities, sizes and networks, in words."""

from collections.abc import Container, Mapping
from math import prod
from typing import get_args

import pandas as pd
from torch import Size, Tensor

from inference.predictive.draws import sample_latents
from inference.recipes.options import ExpostName, ModelOptions
from inference.runs.kept import ROW_SOFT
from inference.runs.run import Run

_WORDS = {
    "maf": "masked autoregressive flow",
    "spline": "spline flow",
    "vamp": "VampPrior",
    "iaf": "inverse autoregressive flow",
    "inverse-spline": "inverse spline flow",
    "vq": "vector quantization",
    "fsq": "finite scalar quantization",
    "gumbel": "Gumbel softmax",
    "dirichlet": "Dirichlet",
    "laplace": "Laplace",
    "student-t": "Student's t",
    "bernoulli": "Bernoulli",
    "gaussian": "normal",
    "poisson": "Poisson",
    "standard": "standard normal",
    "mixture": "mixture of normals",
    "mlp": "perceptron",
    "gated": "gated perceptron",
    "conv": "convolutions",
}
_OF_MIXTURES = ("mixture", "vamp")


def models_table(runs: Mapping[str, Run], fitted: Container[str]) -> pd.DataFrame:
    """The densities and sizes of each model, one row per model.

    Args:
        runs: The models by name.
        fitted: Names of those that are as they were fitted; the others have another prior or a soft proposal, as their names say.
    """
    rows = {name: _row("" if name in fitted else name.rpartition("+")[2], run) for name, run in runs.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def _row(expost: str, run: Run) -> dict[str, str]:
    model = run.recipe.model
    return {
        "likelihood p(x|z)": word(model.likelihood),
        "prior p(z)": _prior(expost.removesuffix(ROW_SOFT), model),
        "guide q(z|x)": word(model.encoder) + (", soft" if expost.endswith(ROW_SOFT) else ""),
        "latents": latents(run),
        "data": f"{_size(run.data.test.shape[1:])} values",
        "networks": f"{word(model.network)}, {', '.join(map(str, model.hidden))}",
        "parameters": f"{sum(p.numel() for p in run.vae.parameters())}",
    }


def word(name: str) -> str:
    """A name of a part in words."""
    return _WORDS.get(name, name.replace("-", " "))


def _prior(expost: str, model: ModelOptions) -> str:
    prior = word(model.prior)
    if expost in get_args(ExpostName):
        return f"{word(expost)}, fitted after training under {prior}"
    return f"{prior}, {model.num_components} components" if model.prior in _OF_MIXTURES else prior


def latents(run: Run) -> str:
    """The latents of a model in words: the shape of each, and of codes the number of their values."""
    drawn = sample_latents(run.vae, run.data.test[:1], seed=0)
    several = drawn if isinstance(drawn, dict) else {"": drawn}
    return ", ".join(f"{site}: {_latent(z, run)}".removeprefix(": ") for site, z in several.items())


def _latent(z: Tensor, run: Run) -> str:
    if z.is_floating_point():
        return f"{_size(z.shape[1:])} units"
    model = run.recipe.model
    return f"{prod(z.shape[1:])} codes of {prod(model.fsq_levels) if model.encoder == 'fsq' else model.num_codes} values"


def _size(shape: Size) -> str:
    return " × ".join(map(str, shape)) or "1"
