"""What the models of a report are: their densities, sizes and networks, in words."""

from collections.abc import Container, Mapping, Sequence
from math import prod
from typing import Any

import pandas as pd
from pyro import poutine
from torch import Size, Tensor

from inference.checkpoint import num_parameters
from inference.data.columns import kinds_in_words
from inference.densities.scope import scoring
from inference.recipes.parts.columns import likelihood_of
from inference.recipes.registries import CONDITIONS, EXPOST, STRUCTURES
from inference.report.html import Block, Paragraph
from inference.runs.kept import ROW_SOFT
from inference.runs.run import Run
from pyro_lvm.pair import programs
from pyro_lvm.sites import Site, innermost, is_data, num_values, sample_sites
from pyro_lvm.structure import known_row_parameters

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
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def with_codes_of_any_data(runs: Mapping[str, Run]) -> tuple[dict[str, Run], list[Block]]:
    """The models that encode any data, and a sentence on the others, whose guides know only the rows that they were fitted to."""
    able = {name: run for name, run in runs.items() if not known_row_parameters(run.pair)}
    rest = ", ".join(name for name in runs if name not in able)
    sentence = f"Left out, as the parameters of the guide belong to the training rows, and no other data can be encoded: {rest}."
    return able, [Paragraph(sentence)] if rest else []


def _row(expost: str, run: Run) -> dict[str, str]:
    model, is_own = run.recipe.model, run.recipe.pair is not None
    drawn = _drawn(run.pair, *_few(run)) if is_own else {}
    return {
        "likelihood p(x|z)": likelihood(run),
        "prior p(z)": _prior(expost.removesuffix(ROW_SOFT), drawn["latents"] if is_own else word(model.prior), model),
        **({"given": ", ".join(run.data.given)} if run.data.given else {}),
        "guide q(z|x)": drawn["guide"] if is_own else word(model.encoder) + (", soft" if expost.endswith(ROW_SOFT) else ""),
        "latents": latents(run),
        "data": f"{_size(run.data.test.shape[1:])} values",
        "networks": f"of {run.recipe.name}" if is_own else f"{word(model.network)}, {', '.join(map(str, model.hidden))}",
        "parameters": f"{num_parameters(run.pair)}",
    }


def likelihood(run: Run) -> str:
    """The likelihood of a model in words: as its options name it, or the distributions of the sites that a pair of one's own observes."""
    if run.recipe.pair is not None:
        return _drawn(run.pair, *_few(run))["observed"]
    name = run.recipe.model.likelihood
    return word(likelihood_of(name, run.data.kinds)) + (f": {kinds_in_words(run.data.kinds)}" if run.data.kinds else "")


def _few(run: Run) -> tuple[Tensor, ...]:
    return tuple(x[:2] for x in run.data.batch("train"))


def _drawn(pair: object, *batch: Tensor) -> dict[str, str]:
    """The distributions of a pair's sites in words: of those that it observes, of its latents, and of the guide's latents."""
    model, guide = programs(pair)
    with scoring(pair, batch[0].device):
        sites, drawn = (sample_sites(poutine.trace(program).get_trace(*batch)) for program in (model, guide))
    return {
        "observed": _named([site for site in sites if is_data(site)]),
        "latents": _named([site for site in sites if not site["is_observed"]]),
        "guide": _named([site for site in drawn if not site["is_observed"]]),
    }


def _named(sites: Sequence[Site]) -> str:
    return ", ".join(f"{site['name']}: {type(innermost(site['fn'])).__name__}" for site in sites) or "none"


def word(name: str) -> str:
    """A name of a part in words."""
    return _WORDS.get(name, name.replace("-", " "))


def _prior(expost: str, prior: str, model: Any) -> str:
    if STRUCTURES[model.structure].facts["takes"] == CONDITIONS:
        prior = "normal, by what is given"
    if expost in EXPOST:
        return f"{word(expost)}, fitted after training under {prior}"
    return f"{prior}, {model.num_components} components" if prior in map(word, _OF_MIXTURES) else prior


def latents(run: Run) -> str:
    """The latents of a model in words: the shape of each, and of codes the number of their values."""
    batch = _few(run)
    with scoring(run.pair, batch[0].device):
        sites = sample_sites(poutine.trace(programs(run.pair)[0]).get_trace(*batch))
    latent = [site for site in sites if not site["is_observed"]]
    return ", ".join(_latent(site) if len(latent) == 1 else f"{site['name']}: {_latent(site)}" for site in latent)


def _latent(site: Site) -> str:
    z = site["value"]
    if z.is_floating_point():
        return f"{_size(z.shape[1:])} units"
    count = prod(z.shape[1:])
    return f"{count} {'code' if count == 1 else 'codes'} of {num_values(site['fn'])} values"


def _size(shape: Size) -> str:
    return " × ".join(map(str, shape)) or "1"
