"""Models by recipe: their closed forms, what they start from, and what cannot be built."""

from dataclasses import asdict, replace
import math

from drawn import SMALL, as_data, draw
import pytest
import torch
from torch import Tensor, nn

from inference import IWAE, STL, VIMCO, AnalyticKL, DReG
from inference.data.load import Data
from inference.recipes.build import build_model, evaluate_pair, fit_pair, seen_by_model
from inference.recipes.options import EvaluateOptions, ModelOptions, fit_options
from inference.recipes.registries import OBJECTIVES
from pyro_lvm import check_pair
from pyro_lvm.priors.vamp import VampPrior


def test_linear_gaussian_recipe_has_its_closed_form_likelihood() -> None:
    x = draw("gaussian", 8, 5)
    vae = build_model(replace(SMALL, likelihood="gaussian", hidden=()), x).double()
    layer = vae.likelihood.network.layers[0]
    covariance = layer.weight @ layer.weight.T + vae.likelihood.scale.value.square() * torch.eye(5)
    exact = torch.distributions.MultivariateNormal(layer.bias, covariance).log_prob(x.double())
    score = evaluate_pair(vae, as_data(x.double()), EvaluateOptions("train", 4000, seed=1))
    assert ((score.log_px - exact.detach()).abs() < 5 * score.mc_error).all()
    assert score.mc_error.median() < 0.05


def test_decoders_start_at_the_data() -> None:
    def bias(likelihood: str, x: Tensor) -> Tensor:
        vae = build_model(replace(SMALL, likelihood=likelihood), x)
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
        vae = build_model(replace(SMALL, likelihood="gaussian", feature_noise=feature_noise), x)
        torch.testing.assert_close(vae.likelihood.scale.value.detach(), expected)


def test_pseudo_inputs_are_training_rows_within_the_range_of_the_data() -> None:
    for likelihood, bounds in (("bernoulli", (0.0, 1.0)), ("gaussian", None), ("poisson", (0.0, 39.0))):
        x = draw(likelihood, 50, 6)
        prior = build_model(replace(SMALL, prior="vamp", likelihood=likelihood, num_components=50), x).prior
        assert isinstance(prior, VampPrior) and prior.bounds == bounds
        rows = prior.pseudo_inputs.detach()
        torch.testing.assert_close(rows[rows[:, 0].argsort()].sum(0), x.sum(0), rtol=1e-4, atol=1e-4)
        assert (rows[:, None] == x).all(-1).any(1).all()


def test_perceptrons_have_the_activation_and_start_that_are_asked_for() -> None:
    x = draw("bernoulli", 50, 6)
    plain, vae = (build_model(options, x) for options in (SMALL, replace(SMALL, activation="tanh", init="glorot")))
    kinds = {type(module) for module in vae.modules()}
    assert nn.Tanh in kinds and nn.ReLU not in kinds
    torch.testing.assert_close(vae.likelihood.network.layers[-1].bias, plain.likelihood.network.layers[-1].bias)
    assert not vae.encoder.network.layers[0].bias.any()


def test_a_seed_makes_the_model_and_leaves_the_callers_alone() -> None:
    x = draw("bernoulli", 50, 6)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    options = replace(SMALL, prior="vamp")
    vaes = [build_model(replace(options, seed=seed), x) for seed in (0, 0, 1)]
    first, again, other = (nn.utils.parameters_to_vector(vae.parameters()) for vae in vaes)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_objective_and_schedule_reach_the_fit() -> None:
    x = draw("bernoulli", 40, 6)
    options = fit_options()(epochs=4, batch_size=20, learning_rate=0.01, schedule="cosine")
    rates = fit_pair(build_model(SMALL, x), as_data(x), options, progress=False).history["learning_rate"]
    expected = [0.005 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    assert rates.tolist() == pytest.approx(expected)

    # With many draws the importance-weighted bound comes close to log p(x), which the ELBO stays below.
    losses = []
    for objective in ("elbo", "iwae"):
        options = fit_options()(epochs=1, objective=objective, num_particles=200, batch_size=40)
        result = fit_pair(build_model(SMALL, x), as_data(x), options, progress=False)
        losses.append(result.history["train_loss"].item())
    vae = build_model(SMALL, x)
    score = evaluate_pair(vae, as_data(x), EvaluateOptions("train", 2000))
    assert -losses[1] == pytest.approx(score.mean, abs=0.1)
    assert -losses[0] == pytest.approx(float(score.elbo.mean()), abs=0.1)
    assert score.mean - float(score.elbo.mean()) > 0.2


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("elbo", AnalyticKL, {"analytic_kl": True}),
        ("iwae", IWAE, {"num_particles": 3}),
        ("stl", STL, {"num_particles": 3}),
        ("dreg", DReG, {"num_particles": 3}),
        ("vimco", VIMCO, {"num_particles": 3}),
    ],
)
def test_objectives_by_name(name: str, kind: type, options: dict) -> None:
    x = draw("bernoulli", 40, 6)
    structure = check_pair(build_model(SMALL, x), x)
    elbo = OBJECTIVES.build(name, asdict(fit_options()(objective=name, **options)), structure=structure)
    assert type(elbo) is kind and elbo.num_particles == options.get("num_particles", 1)


def test_the_analytic_kl_is_refused_where_latents_are_summed_out() -> None:
    x = draw("bernoulli", 40, 6)
    structure = replace(check_pair(build_model(SMALL, x), x), enumerated=("c",))
    with pytest.raises(ValueError, match=r"no latents that are summed out; \('c',\) are. Use Trace_ELBO"):
        OBJECTIVES.build("elbo", asdict(fit_options()(analytic_kl=True)), structure=structure)


def test_the_model_is_built_for_what_it_will_see() -> None:
    shares = torch.full((2000, 3), 0.25)
    seen = seen_by_model(Data("shares", "shares", shares, shares, shares, transform=torch.bernoulli), seed=1)
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    assert seen.mean().item() == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 6000) ** 0.5)


@pytest.mark.parametrize(
    ("options", "x", "message"),
    [
        (SMALL, torch.tensor([[0.0, 16.0]] * 9), "'bernoulli' cannot have generated the data, .* 0 to 16"),
        (replace(SMALL, likelihood="poisson"), torch.tensor([[0.5]] * 9), "'poisson' cannot have generated"),
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
def test_impossible_models_are_refused(options: ModelOptions, x: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(options, x)
