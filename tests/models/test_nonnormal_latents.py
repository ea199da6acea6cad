"""VAEs whose latents are not normal: trained, scored against quadrature, and refused where spaces differ."""

import math

import pytest
from spaces import ENCODERS, X, plane, simplex, sphere
import torch

from inference import evaluate, fit
from pyro_lvm import (
    MLP,
    VAE,
    BernoulliLikelihood,
    DirichletPrior,
    LaplacePrior,
    LogisticNormalPrior,
    NormalEncoder,
    StandardNormal,
    StudentTPrior,
    UniformSpherePrior,
    VampPrior,
    check_pair,
)

PRIORS = {
    plane: {"standard": StandardNormal, "laplace": LaplacePrior, "student-t": StudentTPrior},
    simplex: {"dirichlet": DirichletPrior, "logistic-normal": LogisticNormalPrior},
    sphere: {"uniform": UniformSpherePrior},
}
HEAVIER_PRIORS = {("laplace", "student-t"), ("logistic-normal", "dirichlet")}
PAIRS = [(encoder, prior) for encoder, (space, *_) in ENCODERS.items() for prior in (*PRIORS[space], "vamp")]


@pytest.mark.parametrize(("encoder", "prior"), PAIRS)
def test_pairs_learn_and_are_scored(encoder, prior):
    """Densities integrate to one, gradients are finite, and log p(x) is the integral over the latent space."""
    torch.manual_seed(0)
    space, D, make = ENCODERS[encoder]
    encode, x = make(), (torch.rand(8, X) > 0.5).double()
    p = VampPrior(encode, torch.rand(3, X)) if prior == "vamp" else PRIORS[space][prior](D)
    vae = VAE(p, BernoulliLikelihood(MLP(D, [8], X)), encode).double()
    losses = fit(vae, x, epochs=10, learning_rate=0.01, progress=False).history.train_loss
    assert losses.map(math.isfinite).all() and all(p.isfinite().all() for p in vae.parameters())

    z, log_cell = space()
    with torch.no_grad():
        log_prior = vae.prior().log_prob(z) + log_cell
        exact = (log_prior[:, None] + vae.likelihood(z[:, None]).log_prob(x)).logsumexp(0)
        assert log_prior.logsumexp(0).exp().item() == pytest.approx(1, abs=2e-3)
        assert (vae.encoder(x[:1]).log_prob(z) + log_cell).logsumexp(0).exp().item() == pytest.approx(1, abs=2e-3)
    score = evaluate(vae, x, num_particles=2000, progress=False)
    # Where the prior's tails are heavier than the guide's, weights have no variance and their error is too small.
    slack = 0.2 if (encoder, prior) in HEAVIER_PRIORS else 2e-3
    assert ((score.log_px - exact).abs() < 5 * score.mc_error + slack).all()


@pytest.mark.parametrize(
    ("prior", "encoder", "message"),
    [
        (StandardNormal(3), ENCODERS["dirichlet"][2], "the prior lives on the whole space, the guide on the simplex"),
        (UniformSpherePrior(3), ENCODERS["logistic-normal"][2], "the prior lives on the sphere, the guide on the simplex"),
        (DirichletPrior(3), lambda: NormalEncoder(MLP(X, (), 6)), "the prior lives on the simplex, the guide on the whole space"),
        (VampPrior(ENCODERS["dirichlet"][2](), torch.rand(2, X)), ENCODERS["power-spherical"][2], "simplex, the guide on the sphere"),
    ],
)
def test_densities_on_different_spaces_are_not_compared(prior, encoder, message):
    vae, x = VAE(prior, BernoulliLikelihood(MLP(3, (), X)), encoder()), torch.ones(4, X)
    assert message in check_pair(vae, x).refusal
    with pytest.raises(ValueError, match=message):
        evaluate(vae, x, num_particles=3, progress=False)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_nan_in_an_encoder_is_refused(encoder):
    space, D, make = ENCODERS[encoder]
    vae = VAE(next(iter(PRIORS[space].values()))(D), BernoulliLikelihood(MLP(D, (), X)), make())
    next(vae.encoder.parameters()).data.fill_(math.nan)
    with pytest.raises(ValueError, match="Look for NaN in its parameters"):
        fit(vae, torch.ones(4, X), epochs=1, progress=False)
