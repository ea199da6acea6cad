"""Every prior with every encoder and every likelihood: fitted for a few steps, then scored against quadrature over the latent plane."""

import math

import pytest
import torch

from inference import fit, log_weights
from inference.scoring.pareto import pareto_k_threshold
from inference.scoring.reduction import reduce_log_weights
from pyro_lvm import (
    MLP,
    VAE,
    BernoulliLikelihood,
    CategoricalLikelihood,
    DiscretizedLogisticLikelihood,
    FlowEncoder,
    FlowPrior,
    FullRankNormalEncoder,
    GaussianLikelihood,
    GaussianMixturePrior,
    NegativeBinomialLikelihood,
    NormalEncoder,
    PoissonLikelihood,
    StandardNormal,
    StudentTLikelihood,
    VampPrior,
    iaf,
    inverse_spline,
    maf,
    spline,
)

X, D = 3, 2
ENCODERS = {
    "normal": lambda: NormalEncoder(MLP(X, [8], 2 * D)),
    "full-rank": lambda: FullRankNormalEncoder(MLP(X, [8], D + 3), D),
    "iaf": lambda: FlowEncoder(MLP(X, [8], 2 * D + 4), iaf(D, 4, transforms=1, hidden=(8,))),
    "inverse-spline": lambda: FlowEncoder(MLP(X, [8], 2 * D + 4), inverse_spline(D, 4, transforms=1, hidden=(8,))),
}
PRIORS = {
    "standard": lambda encoder: StandardNormal(D),
    "mixture": lambda encoder: GaussianMixturePrior(D, 3),
    "vamp": lambda encoder: VampPrior(encoder, torch.rand(3, X)),
    "maf": lambda encoder: FlowPrior(maf(D, transforms=2, hidden=(8,))),
    "spline": lambda encoder: FlowPrior(spline(D, transforms=1, hidden=(8,))),
}
LIKELIHOODS = {
    "bernoulli": (lambda: BernoulliLikelihood(MLP(D, [8], X)), lambda: (torch.rand(8, X) > 0.5).float()),
    "gaussian": (lambda: GaussianLikelihood(MLP(D, [8], X), learn_scale=True), lambda: torch.randn(8, X)),
    "student-t": (lambda: StudentTLikelihood(MLP(D, [8], X), scale=torch.ones(X), learn_scale=True), lambda: torch.randn(8, X)),
    "discretized-logistic": (
        lambda: DiscretizedLogisticLikelihood(MLP(D, [8], (X, 6)), num_components=2),
        lambda: torch.randint(256, (8, X)).float(),
    ),
    "categorical": (lambda: CategoricalLikelihood(MLP(D, [8], (X, 4))), lambda: torch.randint(4, (8, X)).float()),
    "poisson": (lambda: PoissonLikelihood(MLP(D, [8], X)), lambda: torch.poisson(torch.full((8, X), 2.0))),
    "negative-binomial": (lambda: NegativeBinomialLikelihood(MLP(D, [8], X)), lambda: torch.poisson(torch.full((8, X), 2.0))),
}


def log_px_by_quadrature(vae, x):
    """log of the sum of p(z) p(x|z) over a grid of the plane, [B]."""
    step = 0.1
    axis = torch.arange(-8, 8, step).double()
    z = torch.cartesian_prod(axis, axis)  # [G, D]
    with torch.no_grad():
        log_joint = vae.prior().log_prob(z)[:, None] + vae.likelihood(z[:, None]).log_prob(x)  # [G, B]
    return log_joint.logsumexp(0) + 2 * torch.tensor(step).double().log()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("prior", PRIORS)
def test_elbo_below_iwae_bound_below_exact(prior, encoder, likelihood):
    torch.manual_seed(0)
    make_likelihood, make_data = LIKELIHOODS[likelihood]
    x, encode = make_data().double(), ENCODERS[encoder]()
    vae = VAE(PRIORS[prior](encode), make_likelihood(), encode).double()
    scale = x.abs().max() + 1  # inputs of the encoder's order of magnitude
    encode.network.layers[0].weight.data /= scale
    fit(vae, x, epochs=3, batch_size=4, learning_rate=0.01, progress=False)

    log_w = log_weights(vae, x, num_particles=500, seed=0)  # [500, B]
    exact = log_px_by_quadrature(vae, x)
    bounds = [log_w.unflatten(0, (-1, k)).logsumexp(1) - math.log(k) for k in (1, 20, 500)]  # [500 / k, B]
    elbo, iwae, log_px = (bound.mean(0).sum() for bound in bounds)
    errors = [bound.std(0).norm() / len(bound) ** 0.5 for bound in bounds[:2]]
    summary = reduce_log_weights(log_w)
    error = 5 * summary.mc_error.norm() + 1e-3
    assert elbo < iwae + 4 * errors[0] and iwae < exact.sum() + 4 * errors[1]
    assert log_px < exact.sum() + error
    if summary.pareto_k.max() < pareto_k_threshold(500):  # else the estimate says itself that it may be too low
        assert log_px > exact.sum() - error
