"""What objectives refuse by name, because their gradients would be wrong there."""

from pairs import NUM_PIXELS, autoguide, enumerated, hierarchy, make_vae, score_function, straight_through
import pyro
from pyro import poutine
import pyro.distributions as dist
import pytest
import torch

from inference import IWAE, STL, VIMCO, AnalyticKL, DReG, KLWeight, fit
from pyro_lvm import Pair

X = torch.rand(70, NUM_PIXELS, generator=torch.Generator().manual_seed(0)).round()


def of_two(guide_order="ab", is_masked=False, has_rsample=True):
    """A pair of two latents of one dimension."""
    kind = dist.Normal if has_rsample else lambda loc, scale: dist.Normal(loc, scale).has_rsample_(False)

    def draw(name):
        with poutine.mask(mask=torch.tensor(True)) if is_masked else poutine.scale(scale=1.0):
            return pyro.sample(name, kind(pyro.param(f"loc_{name}", torch.tensor(0.1)), 1.0))

    def model(x):
        with pyro.plate("data", len(x)):
            with poutine.mask(mask=torch.tensor(True)) if is_masked else poutine.scale(scale=1.0):
                z = [pyro.sample(name, dist.Normal(0.0, 1.0)) for name in "ab"]
            pyro.sample("x", dist.Normal(sum(z)[..., None].expand(*z[0].shape, NUM_PIXELS), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            for name in guide_order:
                draw(name)

    return Pair(model, guide)


@pytest.mark.parametrize(
    ("objective", "make", "options", "message"),
    [
        (IWAE(2), score_function, {}, "IWAE needs reparameterized latents; 'a' has no rsample. Enumerate it in the model, or use VIMCO"),
        (STL(), score_function, {}, "STL needs reparameterized latents; 'a' has no rsample"),
        (DReG(2), straight_through, {}, "DReG needs derivatives of log q along the latents; 'z' is discrete. Use IWAE, or VIMCO"),
        (DReG(2), hierarchy, {"warmup_epochs": {"z1": 3}}, "the KL of all latents must have one weight"),
        (DReG(2), lambda: of_two(is_masked=True), {}, "DReG needs the whole density of every draw; latent 'a' is masked"),
        (
            VIMCO(2),
            lambda: of_two(is_masked=True, has_rsample=False),
            {},
            "VIMCO needs the whole .* latent 'a' is masked",
        ),
        (VIMCO(2), hierarchy, {}, "VIMCO is for latents that are drawn without rsample, and the guide has none. Use IWAE, or DReG"),
        (VIMCO(2), lambda: of_two(has_rsample=False), {"free_bits": 0.1}, r"the penalties \('a_free_bits', .* are not part of its weights"),
        (AnalyticKL(), lambda: of_two("ba"), {}, r"the same latents in the same order; the model has \['a', 'b'\], the guide \['b', 'a'\]"),
        (AnalyticKL(), autoguide, {"batch_size": 70}, r"the same latents in the same order; the model has \['z'\]"),
        (AnalyticKL(), enumerated, {}, "the same latents in the same order"),
        (AnalyticKL(), score_function, {}, "'a' has no rsample. Use Trace_ELBO"),
        (AnalyticKL(), lambda: make_vae("mixture"), {}, r"no KL of the latents \['z'\] has a closed form"),
    ],
)
def test_wrong_gradients_are_refused(objective, make, options, message):
    with pytest.raises(ValueError, match=message):
        fit(make(), X, elbo=objective, epochs=1, progress=False, compile=False, **options)


def test_a_weight_of_some_latents_is_refused_whenever_it_changes():
    pair, kl, objective = of_two(), KLWeight(0.5), DReG(2)
    model, guide = kl(pair.model), kl(pair.guide)
    objective.loss(model, guide, X)
    kl.weight = {"a": 0.5}
    with pytest.raises(ValueError, match="one weight, as the gradient depends on it; got {'a': 0.5, 'b': 1.0}"):
        objective.loss(model, guide, X)


def test_vimco_needs_two_draws():
    with pytest.raises(ValueError, match="num_particles must be at least 2; got 1"):
        VIMCO(1)
