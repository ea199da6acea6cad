"""Hierarchies of latents against exact linear-Gaussian marginals and quadrature."""

import math

from hierarchies import DIMS, LinearHierarchy, X, images, ladder_vae
import pytest
import torch
from torch.distributions import MultivariateNormal

from inference import evaluate, fit, log_weights
from pyro_lvm import (
    MLP,
    BernoulliLikelihood,
    FlowPrior,
    FullGaussianMixturePrior,
    GaussianMixturePrior,
    HierarchicalVAE,
    Join,
    Levels,
    NormalEncoder,
    StandardNormal,
    VampPrior,
    check_pair,
    maf,
    spline,
)

# Exact marginals


@pytest.mark.parametrize("L", DIMS)
def test_every_weight_is_log_px_at_the_exact_posterior(L):
    oracle = LinearHierarchy(DIMS[L])
    x = oracle.sample(20)
    log_w = log_weights(oracle.vae, x, num_particles=5, seed=0)
    torch.testing.assert_close(log_w, oracle.log_px(x).expand(5, 20), rtol=0, atol=1e-9)


@pytest.mark.parametrize("L", DIMS)
def test_an_imperfect_guide_scores_log_px(L):
    oracle = LinearHierarchy(DIMS[L], exact=False)
    x = oracle.sample(20)
    score = evaluate(oracle.vae, x, num_particles=6000, progress=False)
    difference = score.log_px - oracle.log_px(x)
    assert (difference.abs() < 5 * score.mc_error).all()
    assert abs(difference.mean()) < 0.01 and 1e-4 < score.mc_error.mean() < 0.03
    assert (oracle.log_px(x) - score.elbo).mean() > 0.05


PRIORS = {
    "mixture": lambda levels: GaussianMixturePrior(2, 3),
    "full-mixture": lambda levels: FullGaussianMixturePrior(2, 3),
    "vamp": lambda levels: VampPrior(levels.top(), torch.rand(3, X).double()),
    "maf": lambda levels: FlowPrior(maf(2, transforms=1, hidden=(8,))),
    "spline": lambda levels: FlowPrior(spline(2, transforms=1, hidden=(8,))),
}


@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_goes_on_top(name):
    """The levels below the top are integrated out in closed form, the top by quadrature over the plane."""
    torch.manual_seed(1)
    oracle = LinearHierarchy(DIMS[2], exact=False)
    vae = oracle.vae.with_prior(PRIORS[name](oracle.levels).double())
    x = oracle.sample(8)
    axis = torch.arange(-7, 7, 0.05).double()
    z = torch.cartesian_prod(axis, axis)  # [G, 2]
    gain, offset, covariance = oracle.conditional(oracle.num_latents + torch.arange(X), torch.arange(2))
    with torch.no_grad():
        log_joint = vae.prior().log_prob(z)[:, None] + MultivariateNormal((z @ gain.T + offset)[:, None], covariance).log_prob(x)
    exact = log_joint.logsumexp(0) + 2 * math.log(0.05)
    score = evaluate(vae, x, num_particles=4000, progress=False)
    assert ((score.log_px - exact).abs() < 5 * score.mc_error + 1e-4).all()
    assert check_pair(vae, x).latents == ("z2", "z1")


# Errors


def vae_of(encoder_dim=2, conditional_dim=2, top_dim=2):
    encoders = [NormalEncoder(MLP(6, (), 4)), NormalEncoder(Join(network=MLP(6 + 2, (), 2 * encoder_dim)))]
    levels = Levels(encoders, [NormalEncoder(MLP(2, (), 2 * conditional_dim))])
    return HierarchicalVAE(StandardNormal(top_dim), levels, BernoulliLikelihood(MLP(4, (), 6)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vae_of(conditional_dim=3), r"level z1: prior and guide .* the prior has \(3,\), the guide drew \(2,\)"),
        (lambda: vae_of(top_dim=3), r"level z2: prior and guide .* the prior has \(3,\)"),
        (lambda: vae_of(encoder_dim=3, conditional_dim=3), r"MLP expects an input of shape \[\*lead, 4\]; got \(\d, 5\)"),
    ],
)
def test_levels_whose_dimensions_disagree_are_refused(make, message):
    x = images(6)[:, 0, 0].float()
    with pytest.raises(ValueError, match=message):
        fit(make(), x, epochs=1, progress=False)
    with pytest.raises(ValueError, match=message):
        evaluate(make(), x, progress=False)


@pytest.mark.parametrize("level", [0, 1])
def test_nan_in_an_encoder_is_refused(level):
    vae, x = ladder_vae(L=2), images(6)[:, 0, 0]
    next(vae.levels.encoders[level].parameters()).data.fill_(math.nan)
    for use in (lambda: fit(vae, x, epochs=1, progress=False), lambda: evaluate(vae, x, progress=False)):
        with pytest.raises(ValueError, match="the pair cannot run on this batch.*Look for NaN in its parameters"):
            use()
