"""Every word of a recipe builds the part it names, with every other."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from itertools import chain, product
import math
from typing import get_args

from drawn import SMALL, as_data, draw
import pytest
import torch
from torch import nn

from inference.predictive.draws import encode
from inference.recipes.build import build_model, evaluate_pair, fit_pair
from inference.recipes.combinations import check_parts, checked_recipes
from inference.recipes.options import EvaluateOptions, Precision, ProposalName, Recipe, fit_options, model_options, names_of
from inference.recipes.registries import CODES, ENCODERS, FIT_PARTS, LIKELIHOODS, METHODS, MODEL_PARTS, NOTHING, PRIORS, STRUCTURES
from inference.registry import union
from inference.scoring.annealed.score import METHODS as METHOD_NAMES
from inference.scoring.proposals.assembly import PROPOSALS
from inference.tracing.precision import PRECISIONS

CODE_PRIORS = [name for name, part in PRIORS.items() if part.facts["latents"] == CODES]
CODE_ENCODERS = [name for name, part in ENCODERS.items() if part.facts["latents"] == CODES]
VECTOR_PRIORS = [name for name in PRIORS if name not in CODE_PRIORS]
VECTOR_ENCODERS = [name for name in ENCODERS if name not in CODE_ENCODERS]
OF_IMAGES = [name for name in LIKELIHOODS if name != "mixed"]


@pytest.mark.parametrize(
    ("names", "registry"), [(Precision, PRECISIONS), (ProposalName, PROPOSALS), (names_of(METHODS), METHOD_NAMES)], ids=str
)
def test_every_name_an_option_takes_is_registered(names: object, registry: Collection[str]) -> None:
    assert set(get_args(names)) == set(registry)


def test_every_option_of_a_part_says_what_it_is() -> None:
    assert all(option.help for registries in (MODEL_PARTS, FIT_PARTS, (METHODS,)) for option in union(registries).values())


GUIDES = {"dirichlet": "dirichlet", "logistic-normal": "dirichlet", "sphere": "power-spherical"}
KINDS = {"dirichlet": "dirichlet", "logistic-normal": "logistic-normal", "power-spherical": "sphere"}
COMBINATIONS = list(
    dict.fromkeys(
        chain(
            ((prior, GUIDES.get(prior, "normal"), "bernoulli", "mlp") for prior in VECTOR_PRIORS),
            ((KINDS.get(encoder, "standard"), encoder, "bernoulli", "gated") for encoder in VECTOR_ENCODERS),
            (("vamp", "normal", likelihood, "mlp") for likelihood in LIKELIHOODS),
            (("standard", "normal", likelihood, "conv") for likelihood in OF_IMAGES),
            [("vamp", "iaf", "categorical", "conv"), ("maf", "full-rank", "student-t", "gated")],
        )
    )
)


@pytest.mark.parametrize(("prior", "encoder", "likelihood", "network"), COMBINATIONS)
def test_parts_combine_and_learn(prior: str, encoder: str, likelihood: str, network: str) -> None:
    x = draw(likelihood, 40, *((1, 8, 8) if network == "conv" else (6,)))
    vae = build_model(replace(SMALL, prior=prior, encoder=encoder, likelihood=likelihood, network=network), x)
    before = nn.utils.parameters_to_vector(vae.likelihood.parameters())
    result = fit_pair(vae, as_data(x), fit_options()(epochs=2, batch_size=20), progress=False)
    assert result.history[["train_loss", "valid_loss"]].map(math.isfinite).all(axis=None)
    assert not torch.equal(nn.utils.parameters_to_vector(vae.likelihood.parameters()), before)


HIERARCHIES = [
    *(dict(structure="stacked", prior=prior) for prior in VECTOR_PRIORS if prior not in GUIDES),
    *(dict(structure="ladder", levels=3, likelihood=likelihood) for likelihood in LIKELIHOODS),
    *(dict(structure="ladder", network="conv", likelihood=likelihood, hidden=(4, 5)) for likelihood in OF_IMAGES),
    dict(structure="stacked", network="gated", levels=3, prior="vamp", likelihood="categorical"),
]


@pytest.mark.parametrize("words", HIERARCHIES, ids=lambda words: "-".join(map(str, words.values())))
def test_hierarchies_combine_with_every_prior_and_likelihood(words: dict) -> None:
    options = replace(SMALL, **words)
    x = draw(options.likelihood, 40, *((1, 8, 8) if options.network == "conv" else (6,)))
    vae = build_model(options, x)
    levels = [f"z{level}" for level in range(options.levels, 0, -1)]
    assert list(encode(vae, x)) == levels
    result = fit_pair(vae, as_data(x), fit_options()(epochs=1, batch_size=20), progress=False)
    score = evaluate_pair(result.pair, as_data(x), EvaluateOptions(num_particles=10))
    assert math.isfinite(score.mean) and not score.is_bound


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"structure": "stacked"},
        {"structure": "ladder"},
        {"structure": "ladder", "network": "conv", "hidden": (4, 5)},
        {"network": "conv"},
    ],
    ids=lambda words: "-".join(map(str, words.values())) or "flat",
)
def test_a_decoder_may_have_widths_of_its_own(words: dict) -> None:
    x = draw("bernoulli", 20, *((1, 8, 8) if "network" in words else (6,)))
    plain = build_model(replace(SMALL, **words), x)
    wider = build_model(replace(SMALL, **words, decoder_hidden=(9,)), x)
    assert 9 in {n for parameter in wider.likelihood.parameters() for n in parameter.shape}
    assert 9 not in {n for parameter in plain.likelihood.parameters() for n in parameter.shape}
    others = [{name: tuple(p.shape) for name, p in vae.named_parameters() if not name.startswith("likelihood")} for vae in (plain, wider)]
    assert others[0] == others[1]


CODED = [
    *(dict(encoder=encoder, prior="uniform") for encoder in CODE_ENCODERS),
    *(dict(encoder="vq", prior=prior, codebook="gradient", code_gradient="rotation") for prior in CODE_PRIORS),
    *(dict(encoder="fsq", prior="uniform", network="conv", likelihood=likelihood, hidden=(4, 5)) for likelihood in OF_IMAGES),
    *(dict(encoder="vq", prior="autoregressive", network=network, num_groups=2) for network in ("gated", "conv")),
    dict(encoder="gumbel", prior="independent", network="conv"),
    dict(encoder="vq", prior="autoregressive", network="conv", likelihood="categorical", sequence=True),
]


@pytest.mark.parametrize("words", CODED, ids=lambda words: "-".join(map(str, words.values())))
def test_codes_combine_with_every_prior_network_and_likelihood(words: dict) -> None:
    options = replace(SMALL, num_codes=5, num_slots=3, fsq_levels=(3, 2), **{k: v for k, v in words.items() if k != "sequence"})
    shape = (8,) if "sequence" in words or options.network != "conv" else (1, 8, 8)
    x = draw(options.likelihood, 40, *shape)
    vae = build_model(options, x)
    result = fit_pair(vae, as_data(x), fit_options()(epochs=2, batch_size=20), progress=False)
    score = evaluate_pair(result.pair, as_data(x), EvaluateOptions(num_particles=10))
    assert math.isfinite(score.mean) and score.is_bound == (options.encoder in ("vq", "fsq"))
    if score.is_bound:
        assert result.history["code_perplexity"].between(1, vae.encoder.num_codes).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"prior": "uniform"}, "needs an encoder of codes; got 'normal'"),
        ({"encoder": "vq"}, "needs a prior of codes; got 'standard'"),
        (
            {"prior": "dirichlet"},
            "prior 'dirichlet' does not go with encoder 'normal'.*lives on the simplex.*model.encoder .dirichlet, logistic-normal",
        ),
        ({"prior": "sphere", "encoder": "dirichlet"}, "lives on the sphere, the guide on the simplex.*power-spherical.*vamp, dirichlet"),
        ({"structure": "stacked", "encoder": "iaf"}, "stacked structure has normal guides; got encoder 'iaf'"),
        (
            {"structure": "stacked", "prior": "uniform"},
            "stacked structure needs .* got prior 'uniform' on discrete codes.*structure flat",
        ),
        ({"structure": "ladder", "prior": "sphere"}, "ladder structure needs .* got prior 'sphere' on the sphere"),
        ({"structure": "stacked", "network": "conv"}, "mlp or gated networks"),
        ({"structure": "ladder", "network": "conv", "levels": 3}, r"each of 3 levels; got \(6,\)"),
    ],
)
def test_parts_that_do_not_go_together_are_refused_by_name(words: dict, message: str) -> None:
    options = replace(SMALL, **words)
    with pytest.raises(ValueError, match=message):
        check_parts(options)
    with pytest.raises(ValueError, match=message):
        build_model(options, draw("bernoulli", 8, 5))


def test_what_is_not_refused_by_name_is_built() -> None:
    x, counts = draw("bernoulli", 8, 5), Counter()
    for structure, prior, encoder in product(STRUCTURES, PRIORS, ENCODERS):
        options = replace(SMALL, structure=structure, prior=prior, encoder=encoder, num_codes=4, num_slots=2, fsq_levels=(3, 2))
        try:
            check_parts(options)
        except ValueError:
            counts["refused"] += 1
        else:
            labels = [torch.arange(len(x)) % 3] if STRUCTURES[structure].facts["takes"] != NOTHING else []
            build_model(options, x, labels, [3] * len(labels))
            counts["built"] += 1
    assert counts["built"] >= 76 and counts["refused"] >= 431


def test_an_option_has_its_default_in_recipes_on_which_it_has_no_effect() -> None:
    options = model_options()
    recipes = {prior: Recipe(model=options(prior=prior, num_components=7)) for prior in ("standard", "mixture")}
    checked = checked_recipes(recipes)
    assert checked["standard"].model == options(prior="standard") and checked["mixture"] == recipes["mixture"]
    assert checked_recipes({"alone": checked["standard"]})["alone"] == checked["standard"]
    with pytest.raises(ValueError, match="--model.num_components has no effect here: it is an option of prior mixture and prior vamp"):
        checked_recipes({"standard": recipes["standard"]})
