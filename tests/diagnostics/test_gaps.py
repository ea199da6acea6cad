"""What the ELBO lacks, split in two: against closed forms, and blank where no normal distribution can be fitted."""

from dataclasses import replace
import math

from oracles import LinearGaussian, LinearMixture
from posteriors import QUIET, close
import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import diagnose, evaluate
from inference.diagnostics.gaps import gaps
from pyro_lvm import Pair

NAMES = "approximation_gap", "amortization_gap"


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_a_guide_of_another_scale_than_a_normal_posterior(ratio):
    """With r times its scale, the guide's divergence from the posterior is D (r^2 - 1 - log r^2) / 2."""
    oracle = LinearGaussian(5, 3)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(oracle.posterior(x).mean, ratio**2 * oracle.covariance))

    diagnosis = diagnose(Pair(oracle.model, guide), oracle.sample(300), num_draws=100, **QUIET)
    assert close(diagnosis, "approximation_gap", 0.0) < 0.01
    assert close(diagnosis, "amortization_gap", 3 * (ratio**2 - 1 - math.log(ratio**2)) / 2) < 0.05
    assert "from 256 data" in diagnosis.notes["approximation_gap"] and "k-hat marks 0 of 256" in diagnosis.notes["approximation_gap"]
    frame = diagnosis.to_frame()
    assert all(frame.loc[name, "value"] == getattr(diagnosis, name) and name in repr(diagnosis) for name in NAMES)


def test_gaps_of_a_posterior_with_several_modes():
    oracle = LinearMixture(latent_dim=2, num_features=2, seed=1)
    oracle.noise *= 8  # so that x leaves several components possible
    x = oracle.sample(200)
    diagnosis = diagnose(oracle.broad, x, num_draws=2000, **QUIET)
    errors = diagnosis.standard_errors
    lacking = float(oracle.log_px(x).mean()) + diagnosis.rate + diagnosis.distortion
    noise = math.hypot(errors["rate"], errors["distortion"], *(errors[name] for name in NAMES))
    assert abs(sum(getattr(diagnosis, name) for name in NAMES) - lacking) < 2 * noise < 0.5
    assert diagnosis.approximation_gap > 4 * errors["approximation_gap"]


def test_what_the_notes_say_of_bad_scores():
    oracle = LinearGaussian()
    score = evaluate(oracle.broad, oracle.sample(20), num_particles=100, proposal="refined", progress=False)
    figures = gaps(replace(score, pareto_k=torch.where(torch.arange(20) < 3, 0.9, score.pareto_k)))
    assert "k-hat marks 3 of 20, where it is too low" in figures["approximation_gap"].note
    figures = gaps(replace(score, elbo=torch.where(torch.arange(20) < 2, -math.inf, score.elbo)))
    assert figures["amortization_gap"].value == math.inf and figures["amortization_gap"].note.endswith("not finite for 2 of 20")


def test_discrete_latents_have_no_gaps_and_a_note():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(x.new_full((len(x),), 0.5)))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=2 * x - 2))

    diagnosis = diagnose(Pair(model, guide), torch.linspace(-2, 4, 100).double(), num_draws=100, **QUIET)
    for name in NAMES:
        assert math.isnan(getattr(diagnosis, name)) and math.isnan(diagnosis.standard_errors[name])
        assert "'z'" in diagnosis.notes[name] and "discrete" in diagnosis.notes[name] and "proposal" not in diagnosis.notes[name]
