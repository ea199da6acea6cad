"""Recipes: every word builds the part it names, started from the data."""

from dataclasses import replace
from itertools import chain
import math
from typing import get_args

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from inference.data.load import Data
from inference.predictive.draws import encode
from inference.recipes.build import build_vae, evaluate_vae, fit_vae, seen_by_model
from inference.recipes.codes import CODE_ENCODERS, CODE_PRIORS
from inference.recipes.encoders import ENCODERS
from inference.recipes.fitted_priors import EXPOST, ExpostName, fit_expost
from inference.recipes.likelihoods import LIKELIHOODS
from inference.recipes.networks import NETWORKS
from inference.recipes.options import (
    EncoderName,
    EvaluateOptions,
    FitOptions,
    LikelihoodName,
    ModelOptions,
    NetworkName,
    PriorName,
    Recipe,
    StructureName,
)
from inference.recipes.priors import PRIORS
from inference.recipes.structures import STRUCTURES
from pyro_lvm.networks.inputs import OneHot, Standardize
from pyro_lvm.priors.vamp import VampPrior

SMALL = ModelOptions(latent_dim=2, hidden=(6,), num_components=4, flow_transforms=1, flow_hidden=(8,), flow_context=3)
SUPPORTS = {
    "bernoulli": lambda shape: torch.randint(2, shape),
    "gaussian": lambda shape: torch.randn(shape),
    "student-t": lambda shape: torch.randn(shape),
    "discretized-logistic": lambda shape: torch.randint(256, shape),
    "categorical": lambda shape: torch.randint(5, shape),
    "poisson": lambda shape: torch.randint(40, shape),
    "negative-binomial": lambda shape: torch.randint(40, shape),
}


def draw(likelihood: str, *shape: int) -> Tensor:
    torch.manual_seed(0)
    return SUPPORTS[likelihood](shape).float()


def as_data(x: Tensor) -> Data:
    return Data("drawn", "drawn", x, x[:10], x[:10])


@pytest.mark.parametrize(
    ("names", "registry"),
    [
        (StructureName, STRUCTURES),
        (PriorName, PRIORS | CODE_PRIORS),
        (EncoderName, ENCODERS | CODE_ENCODERS),
        (LikelihoodName, LIKELIHOODS),
        (NetworkName, NETWORKS),
        (ExpostName, EXPOST),
    ],
)
def test_every_name_an_option_takes_is_registered(names: object, registry: dict) -> None:
    assert set(get_args(names)) == set(registry)


GUIDES = {"dirichlet": "dirichlet", "logistic-normal": "dirichlet", "sphere": "power-spherical"}
KINDS = {"dirichlet": "dirichlet", "logistic-normal": "logistic-normal", "power-spherical": "sphere"}
COMBINATIONS = list(
    dict.fromkeys(
        chain(
            ((prior, GUIDES.get(prior, "normal"), "bernoulli", "mlp") for prior in PRIORS),
            ((KINDS.get(encoder, "standard"), encoder, "bernoulli", "gated") for encoder in ENCODERS),
            (("vamp", "normal", likelihood, "mlp") for likelihood in LIKELIHOODS),
            (("standard", "normal", likelihood, "conv") for likelihood in LIKELIHOODS),
            [("vamp", "iaf", "categorical", "conv"), ("maf", "full-rank", "student-t", "gated")],
        )
    )
)


@pytest.mark.parametrize(("prior", "encoder", "likelihood", "network"), COMBINATIONS)
def test_parts_combine_and_learn(prior: str, encoder: str, likelihood: str, network: str) -> None:
    x = draw(likelihood, 40, *((1, 8, 8) if network == "conv" else (6,)))
    vae = build_vae(replace(SMALL, prior=prior, encoder=encoder, likelihood=likelihood, network=network), x)
    before = nn.utils.parameters_to_vector(vae.likelihood.parameters())
    result = fit_vae(vae, as_data(x), FitOptions(epochs=2, batch_size=20), progress=False)
    assert result.history[["train_loss", "valid_loss"]].map(math.isfinite).all(axis=None)
    assert not torch.equal(nn.utils.parameters_to_vector(vae.likelihood.parameters()), before)


HIERARCHIES = [
    *(dict(structure="stacked", prior=prior) for prior in PRIORS if prior not in GUIDES),
    *(dict(structure="ladder", levels=3, likelihood=likelihood) for likelihood in LIKELIHOODS),
    *(dict(structure="ladder", network="conv", likelihood=likelihood, hidden=(4, 5)) for likelihood in LIKELIHOODS),
    dict(structure="stacked", network="gated", levels=3, prior="vamp", likelihood="categorical"),
]


@pytest.mark.parametrize("words", HIERARCHIES, ids=lambda words: "-".join(map(str, words.values())))
def test_hierarchies_combine_with_every_prior_and_likelihood(words: dict) -> None:
    options = replace(SMALL, **words)
    x = draw(options.likelihood, 40, *((1, 8, 8) if options.network == "conv" else (6,)))
    vae = build_vae(options, x)
    levels = [f"z{level}" for level in range(options.levels, 0, -1)]
    assert list(encode(vae, x)) == levels
    result = fit_vae(vae, as_data(x), FitOptions(epochs=1, batch_size=20), progress=False)
    score = evaluate_vae(result.pair, as_data(x), EvaluateOptions(num_particles=10))
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
    plain = build_vae(replace(SMALL, **words), x)
    wider = build_vae(replace(SMALL, **words, decoder_hidden=(9,)), x)
    assert 9 in {n for parameter in wider.likelihood.parameters() for n in parameter.shape}
    assert 9 not in {n for parameter in plain.likelihood.parameters() for n in parameter.shape}
    others = [{name: tuple(p.shape) for name, p in vae.named_parameters() if not name.startswith("likelihood")} for vae in (plain, wider)]
    assert others[0] == others[1]


CODED = [
    *(dict(encoder=encoder, prior="uniform") for encoder in CODE_ENCODERS),
    *(dict(encoder="vq", prior=prior, codebook="gradient", code_gradient="rotation") for prior in CODE_PRIORS),
    *(dict(encoder="fsq", prior="uniform", network="conv", likelihood=likelihood, hidden=(4, 5)) for likelihood in LIKELIHOODS),
    *(dict(encoder="vq", prior="autoregressive", network=network, num_groups=2) for network in ("gated", "conv")),
    dict(encoder="gumbel", prior="independent", network="conv"),
    dict(encoder="vq", prior="autoregressive", network="conv", likelihood="categorical", sequence=True),
]


@pytest.mark.parametrize("words", CODED, ids=lambda words: "-".join(map(str, words.values())))
def test_codes_combine_with_every_prior_network_and_likelihood(words: dict) -> None:
    options = replace(SMALL, num_codes=5, num_slots=3, fsq_levels=(3, 2), **{k: v for k, v in words.items() if k != "sequence"})
    shape = (8,) if "sequence" in words or options.network != "conv" else (1, 8, 8)
    x = draw(options.likelihood, 40, *shape)
    vae = build_vae(options, x)
    result = fit_vae(vae, as_data(x), FitOptions(epochs=2, batch_size=20), progress=False)
    score = evaluate_vae(result.pair, as_data(x), EvaluateOptions(num_particles=10))
    assert math.isfinite(score.mean) and score.is_bound == (options.encoder in ("vq", "fsq"))
    if score.is_bound:
        assert result.history["code_perplexity"].between(1, vae.encoder.num_codes).all()


def test_a_prior_of_codes_needs_an_encoder_of_codes() -> None:
    x = draw("bernoulli", 8, 5)
    for words, message in (
        ({"prior": "uniform"}, "is one of codes; got encoder 'normal'"),
        ({"encoder": "vq"}, "needs a prior of codes; got 'standard'"),
    ):
        with pytest.raises(ValueError, match=message):
            build_vae(replace(SMALL, **words), x)


def test_linear_gaussian_recipe_has_its_closed_form_likelihood() -> None:
    x = draw("gaussian", 8, 5)
    vae = build_vae(replace(SMALL, likelihood="gaussian", hidden=()), x).double()
    layer = vae.likelihood.network.layers[0]
    covariance = layer.weight @ layer.weight.T + vae.likelihood.scale.value.square() * torch.eye(5)
    exact = torch.distributions.MultivariateNormal(layer.bias, covariance).log_prob(x.double())
    score = evaluate_vae(vae, as_data(x.double()), EvaluateOptions("train", 4000, seed=1))
    assert ((score.log_px - exact.detach()).abs() < 5 * score.mc_error).all()
    assert score.mc_error.median() < 0.05


def test_decoders_start_at_the_data() -> None:
    def bias(likelihood: str, x: Tensor) -> Tensor:
        vae = build_vae(replace(SMALL, likelihood=likelihood), x)
        return vae.likelihood.network.layers[-1].bias.detach()

    x = draw("bernoulli", 50, 6)
    torch.testing.assert_close(bias("bernoulli", x).sigmoid(), (x.sum(0) + 1) / 52)
    x = draw("gaussian", 50, 6)
    torch.testing.assert_close(bias("gaussian", x), x.mean(0))
    torch.testing.assert_close(bias("student-t", x), x.median(0).values)
    x = draw("poisson", 50, 6)
    for likelihood in ("poisson", "negative-binomial"):
        torch.testing.assert_close(bias(likelihood, x).exp(), (x.sum(0) + 1) / 50)
    x = draw("discretized-logistic", 50, 6)
    logits, loc, log_scale = bias("discretized-logistic", x).view(6, 3).T
    torch.testing.assert_close(127.5 * (loc + 1), x.mean(0))
    variance = (127.5 * log_scale.exp()).square() * math.pi**2 / 3
    torch.testing.assert_close(variance.sqrt(), x.std().expand(6))


def test_noise_scale_starts_at_the_data_for_all_features_or_each() -> None:
    x = draw("gaussian", 50, 6) * torch.arange(1.0, 7.0)
    for feature_noise, expected in ((False, x.std()), (True, x.std(0))):
        vae = build_vae(replace(SMALL, likelihood="gaussian", feature_noise=feature_noise), x)
        torch.testing.assert_close(vae.likelihood.scale.value.detach(), expected)


def test_pseudo_inputs_are_training_rows_within_the_range_of_the_data() -> None:
    for likelihood, bounds in (("bernoulli", (0.0, 1.0)), ("gaussian", None), ("poisson", (0.0, 39.0))):
        x = draw(likelihood, 50, 6)
        prior = build_vae(replace(SMALL, prior="vamp", likelihood=likelihood, num_components=50), x).prior
        assert isinstance(prior, VampPrior) and prior.bounds == bounds
        rows = prior.pseudo_inputs.detach()
        torch.testing.assert_close(rows[rows[:, 0].argsort()].sum(0), x.sum(0), rtol=1e-4, atol=1e-4)
        assert (rows[:, None] == x).all(-1).any(1).all()


def test_a_seed_makes_the_model_and_leaves_the_callers_alone() -> None:
    x = draw("bernoulli", 50, 6)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    options = replace(SMALL, prior="vamp")
    vaes = [build_vae(replace(options, seed=seed), x) for seed in (0, 0, 1)]
    first, again, other = (nn.utils.parameters_to_vector(vae.parameters()) for vae in vaes)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_objective_and_schedule_reach_the_fit() -> None:
    x = draw("bernoulli", 40, 6)
    options = FitOptions(epochs=4, batch_size=20, learning_rate=0.01, schedule="cosine")
    rates = fit_vae(build_vae(SMALL, x), as_data(x), options, progress=False).history["learning_rate"]
    expected = [0.005 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    assert rates.tolist() == pytest.approx(expected)

    # With many draws the importance-weighted bound comes close to log p(x), which the ELBO stays below.
    losses = []
    for objective in ("elbo", "iwae"):
        options = FitOptions(epochs=1, objective=objective, num_particles=200, batch_size=40)
        result = fit_vae(build_vae(SMALL, x), as_data(x), options, progress=False)
        losses.append(result.history["train_loss"].item())
    vae = build_vae(SMALL, x)
    score = evaluate_vae(vae, as_data(x), EvaluateOptions("train", 2000))
    assert -losses[1] == pytest.approx(score.mean, abs=0.1)
    assert -losses[0] == pytest.approx(float(score.elbo.mean()), abs=0.1)
    assert score.mean - float(score.elbo.mean()) > 0.2


@pytest.mark.parametrize("kind", EXPOST)
def test_a_prior_is_mended_by_training_and_validation_data_alone(kind: str) -> None:
    x = draw("bernoulli", 60, 6)
    options = replace(SMALL, encoder="vq", prior="uniform", num_codes=4, num_slots=3) if EXPOST[kind].is_of_codes else SMALL
    recipe = Recipe(model=options, fit=FitOptions(epochs=2, batch_size=100))
    vae, nan = build_vae(options, x), torch.full((5, 6), math.nan)
    weights = nn.utils.parameters_to_vector(vae.parameters()).clone()
    scores = []
    for train, valid in ((x, x[:20]), (x, x[:20]), (x[20:], x[:20])):
        mended = fit_expost(vae, Data("drawn", "drawn", train, valid, nan), kind, recipe)
        scores.append(evaluate_vae(mended, as_data(x), EvaluateOptions(num_particles=50)))
    before = evaluate_vae(vae, as_data(x), EvaluateOptions(num_particles=50))
    assert torch.equal(scores[0].log_px, scores[1].log_px)
    assert not torch.equal(scores[0].log_px, scores[2].log_px) and not torch.equal(scores[0].log_px, before.log_px)
    assert torch.equal(nn.utils.parameters_to_vector(vae.parameters()), weights)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"prior": "dirichlet", "encoder": "dirichlet"}, "the prior lives on the whole space, the guide on the simplex"),
        ({"prior": "sphere", "encoder": "power-spherical"}, "the prior lives on the whole space, the guide on the sphere"),
        ({"structure": "stacked"}, r"one latent site to be given another prior; got \('z2', 'z1'\)"),
    ],
)
@pytest.mark.parametrize("kind", [kind for kind, expost in EXPOST.items() if not expost.is_of_codes])
def test_codes_that_no_fitted_prior_is_of_are_refused(kind: str, words: dict, reason: str) -> None:
    x = draw("bernoulli", 30, 6)
    options = replace(SMALL, **words)
    with pytest.raises(ValueError, match=reason):
        fit_expost(build_vae(options, x), as_data(x), kind, Recipe(model=options))


@pytest.mark.parametrize(("words", "kind"), [({}, "autoregressive"), ({"encoder": "fsq", "prior": "uniform"}, "mixture")])
def test_priors_of_vectors_are_none_of_codes(words: dict, kind: str) -> None:
    x = draw("bernoulli", 30, 6)
    options = replace(SMALL, **words)
    with pytest.raises(ValueError, match=f"expost must be .* got '{kind}'. Choose another --expost"):
        fit_expost(build_vae(options, x), as_data(x), kind, Recipe(model=options))


def test_a_prior_is_fitted_to_the_codes_of_indicators() -> None:
    x = draw("bernoulli", 60, 6)
    options = replace(SMALL, encoder="gumbel", prior="uniform", num_codes=4, num_slots=3)
    vae = build_vae(options, x)
    fit_vae(vae, as_data(x), FitOptions(epochs=5, batch_size=20), progress=False)
    mended = fit_expost(vae, as_data(x), "autoregressive", Recipe(model=options, fit=FitOptions(epochs=20, batch_size=20)))
    scores = [evaluate_vae(model, as_data(x), EvaluateOptions(num_particles=200)).mean for model in (vae, mended)]
    assert scores[1] > scores[0]


def test_codes_are_those_of_the_data_as_the_model_sees_them() -> None:
    shares, options = torch.full((200, 6), 0.5), replace(SMALL, latent_dim=1)
    vae = build_vae(options, draw("bernoulli", 60, 6))
    vae.encoder = Rounding()
    data = Data("shares", "shares", shares, shares.round(), shares, transform=torch.bernoulli)
    mean = fit_expost(vae, data, "gaussian", Recipe(model=options)).prior.loc.item()
    assert mean == pytest.approx(1, abs=5 * (0.5 / 200) ** 0.5)


class Rounding(nn.Module):
    """Codes near 1 for data that are 0 or 1, and near -1 for data between."""

    def forward(self, x: Tensor) -> torch.distributions.Distribution:
        loc = torch.where((x == x.round()).all(-1, keepdim=True), 1.0, -1.0)
        return dist.Normal(loc, 0.5).to_event(1)


def test_the_model_is_built_for_what_it_will_see() -> None:
    shares = torch.full((2000, 3), 0.25)
    seen = seen_by_model(Data("shares", "shares", shares, shares, shares, transform=torch.bernoulli), seed=1)
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    assert seen.mean().item() == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 6000) ** 0.5)


def test_standardize_centers_scales_and_tames_outliers() -> None:
    x = torch.randn(200, 3).double() * torch.tensor([1e-3, 5.0, 1e4]) + torch.tensor([7.0, 0.0, -1e5])
    x = torch.cat([x, torch.full((200, 1), 42.0, dtype=x.dtype)], 1)
    y = Standardize(x)(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(4).double(), atol=1e-8, rtol=0)
    torch.testing.assert_close(y.std(0), torch.tensor([1.0, 1.0, 1.0, 0.0]).double())
    assert Standardize(x)(x[0] + 1e9).tolist() == [10.0] * 4


def test_one_hot_puts_categories_beside_channels() -> None:
    x = torch.randint(3, (5, 2, 4, 6))
    y = OneHot(3, 3)(x.float())
    assert y.shape == (5, 6, 4, 6)
    for category in range(3):
        assert torch.equal(y[:, 2 * category : 2 * category + 2], (x == category).float())


@pytest.mark.parametrize(
    ("options", "x", "message"),
    [
        (SMALL, torch.tensor([[0.0, 16.0]] * 9), "'bernoulli' cannot have made the data, .* 0 to 16"),
        (replace(SMALL, likelihood="poisson"), torch.tensor([[0.5]] * 9), "'poisson' cannot have made"),
        (replace(SMALL, likelihood="student-t", feature_noise=True), torch.ones(9, 3), "got 0 for 3"),
        (replace(SMALL, likelihood="gaussian"), torch.ones(9, 2), "got 0 for 1"),
        (replace(SMALL, network="conv"), torch.zeros(9, 64), r"\[channels, height, width\]; got \(64,\)"),
        (replace(SMALL, prior="vamp", num_components=10), torch.zeros(9, 2), "between 1 and 9"),
        (replace(SMALL, prior="dirichlet"), torch.zeros(9, 2), "prior lives on the simplex, the guide on the whole space"),
        (replace(SMALL, encoder="power-spherical"), torch.zeros(9, 2), "on the whole space, the guide on the sphere"),
        (replace(SMALL, structure="stacked", levels=1), torch.zeros(9, 2), "levels must be an integer of at least 2; got 1"),
        (replace(SMALL, structure="stacked", encoder="iaf"), torch.zeros(9, 2), "has normal guides; got encoder 'iaf'"),
        (replace(SMALL, structure="stacked", network="conv"), torch.zeros(9, 1, 8, 8), "got network 'conv'. Take"),
        (replace(SMALL, structure="ladder", network="conv"), torch.zeros(9, 1, 8, 8), r"each of 2 levels; got \(6,\)"),
    ],
)
def test_what_cannot_be_is_refused(options: ModelOptions, x: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_vae(options, x)
