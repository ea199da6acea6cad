"""Priors fitted after training by recipe."""

from dataclasses import replace
import math

from drawn import SMALL, as_data, draw
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from inference.data.load import Data
from inference.recipes.build import build_model, evaluate_pair, fit_pair
from inference.recipes.fitted_priors import fit_expost
from inference.recipes.options import EvaluateOptions, Recipe, fit_options
from inference.recipes.registries import EXPOST


@pytest.mark.parametrize("kind", EXPOST)
def test_a_prior_is_fitted_to_training_and_validation_data_alone(kind: str) -> None:
    x = draw("bernoulli", 60, 6)
    options = replace(SMALL, encoder="vq", prior="uniform", num_codes=4, num_slots=3) if EXPOST[kind].facts["is_of_codes"] else SMALL
    recipe = Recipe(model=options, fit=fit_options()(epochs=2, batch_size=100))
    vae, nan = build_model(options, x), torch.full((5, 6), math.nan)
    weights = nn.utils.parameters_to_vector(vae.parameters()).clone()
    scores = []
    for train, valid in ((x, x[:20]), (x, x[:20]), (x[20:], x[:20])):
        refitted = fit_expost(vae, Data("drawn", "drawn", train, valid, nan), kind, recipe)
        scores.append(evaluate_pair(refitted, as_data(x), EvaluateOptions(num_particles=50)))
    before = evaluate_pair(vae, as_data(x), EvaluateOptions(num_particles=50))
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
@pytest.mark.parametrize("kind", [kind for kind, expost in EXPOST.items() if not expost.facts["is_of_codes"]])
def test_codes_that_no_fitted_prior_is_of_are_refused(kind: str, words: dict, reason: str) -> None:
    x = draw("bernoulli", 30, 6)
    options = replace(SMALL, **words)
    with pytest.raises(ValueError, match=reason):
        fit_expost(build_model(options, x), as_data(x), kind, Recipe(model=options))


@pytest.mark.parametrize(("words", "kind"), [({}, "autoregressive"), ({"encoder": "fsq", "prior": "uniform"}, "mixture")])
def test_priors_of_vectors_are_not_priors_of_codes(words: dict, kind: str) -> None:
    x = draw("bernoulli", 30, 6)
    options = replace(SMALL, **words)
    with pytest.raises(ValueError, match=f"expost must be .* got '{kind}'. Choose another --expost"):
        fit_expost(build_model(options, x), as_data(x), kind, Recipe(model=options))


def test_a_prior_is_fitted_to_the_codes_of_indicators() -> None:
    x = draw("bernoulli", 60, 6)
    options = replace(SMALL, encoder="gumbel", prior="uniform", num_codes=4, num_slots=3)
    vae = build_model(options, x)
    fit_pair(vae, as_data(x), fit_options()(epochs=5, batch_size=20), progress=False)
    refitted = fit_expost(vae, as_data(x), "autoregressive", Recipe(model=options, fit=fit_options()(epochs=20, batch_size=20)))
    scores = [evaluate_pair(model, as_data(x), EvaluateOptions(num_particles=200)).mean for model in (vae, refitted)]
    assert scores[1] > scores[0]


def test_codes_are_those_of_the_data_as_the_model_sees_them() -> None:
    shares, options = torch.full((200, 6), 0.5), replace(SMALL, latent_dim=1)
    vae = build_model(options, draw("bernoulli", 60, 6))
    vae.encoder = Rounding()
    data = Data("shares", "shares", shares, shares.round(), shares, transform=torch.bernoulli)
    mean = fit_expost(vae, data, "gaussian", Recipe(model=options)).prior.loc.item()
    assert mean == pytest.approx(1, abs=5 * (0.5 / 200) ** 0.5)


class Rounding(nn.Module):
    """Codes near 1 for data that are 0 or 1, and near -1 for data between."""

    def forward(self, x: Tensor) -> torch.distributions.Distribution:
        loc = torch.where((x == x.round()).all(-1, keepdim=True), 1.0, -1.0)
        return dist.Normal(loc, 0.5).to_event(1)
