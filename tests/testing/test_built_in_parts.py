"""Every part of the library passes the checks that parts of one's own must pass: a new part is a line here."""

import pytest
import torch
from torch import nn

import pyro_lvm as lvm
from pyro_lvm.testing import check_encoder, check_likelihood, check_pair, check_prior

X, M = 3, lvm.MLP
SHAPE = (2, 2)
EACH = torch.linspace(0.5, 3.0, 4).reshape(SHAPE)


def vamp(encoder: nn.Module) -> nn.Module:
    return lvm.VampPrior(encoder, torch.rand(5, X), bounds=(0.0, 1.0))


PRIORS = {
    "standard": lambda: lvm.StandardNormal(3),
    "mixture": lambda: lvm.GaussianMixturePrior(2, 5),
    "mixture-3": lambda: lvm.GaussianMixturePrior(3, 5),
    "full-mixture": lambda: lvm.FullGaussianMixturePrior(2, 5),
    "vamp": lambda: vamp(lvm.NormalEncoder(nn.Linear(X, 4))),
    "vamp-full-rank": lambda: vamp(lvm.FullRankNormalEncoder(nn.Linear(X, 5), 2)),
    "vamp-flow": lambda: vamp(lvm.FlowEncoder(nn.Linear(X, 7), lvm.iaf(2, 3, transforms=1, hidden=(4,)))),
    "maf": lambda: lvm.FlowPrior(lvm.maf(2, transforms=2, hidden=(4,))),
    "spline": lambda: lvm.FlowPrior(lvm.spline(2, transforms=1, hidden=(4,))),
    "resampled": lambda: lvm.ResampledPrior(M(2, [4], 1), 2, truncation=5),
    "laplace": lambda: lvm.LaplacePrior(2),
    "student-t": lambda: lvm.StudentTPrior(2),
    "dirichlet": lambda: lvm.DirichletPrior(3, concentration=2.0),
    "logistic-normal": lambda: lvm.LogisticNormalPrior(3),
    "sphere": lambda: lvm.UniformSpherePrior(4),
    "uniform": lambda: lvm.UniformCodePrior((2, 2), 3),
    "independent": lambda: lvm.CategoricalCodePrior((4,), 3),
    "pixelcnn": lambda: lvm.PixelCNNPrior((2, 2), 3, channels=4, layers=1),
    "transformer": lambda: lvm.TransformerPrior((4,), 3, width=8, depth=1, heads=2),
}
ENCODERS = {
    "normal": lambda: lvm.NormalEncoder(M(X, [4], 4)),
    "full-rank": lambda: lvm.FullRankNormalEncoder(M(X, [4], 5), 2),
    "iaf": lambda: lvm.FlowEncoder(M(X, [8], 7), lvm.iaf(2, 3, transforms=2, hidden=(4,))),
    "inverse-spline": lambda: lvm.FlowEncoder(M(X, [4], 7), lvm.inverse_spline(2, 3, transforms=1, hidden=(4,))),
    "laplace": lambda: lvm.LaplaceEncoder(M(X, [4], 4)),
    "student-t": lambda: lvm.StudentTEncoder(M(X, [4], 4)),
    "dirichlet": lambda: lvm.DirichletEncoder(M(X, [4], 3)),
    "logistic-normal": lambda: lvm.LogisticNormalEncoder(M(X, [4], 6)),
    "power-spherical": lambda: lvm.PowerSphericalEncoder(M(X, [4], 4)),
    "vq": lambda: lvm.VectorQuantizer(M(X, [4], (3, 2)), 4),
    "vq-gradient": lambda: lvm.VectorQuantizer(M(X, [4], (3, 2)), 4, decay=None, num_groups=2),
    "fsq": lambda: lvm.FSQ(M(X, [4], (3, 2)), (3, 2)),
    "straight-through": lambda: lvm.StraightThroughEncoder(M(X, [4], (3, 4)), 2),
    "gumbel": lambda: lvm.GumbelEncoder(M(X, [4], (3, 4)), 2),
}
LIKELIHOODS = {
    "bernoulli": lambda: lvm.BernoulliLikelihood(M(2, [4], SHAPE)),
    "categorical": lambda: lvm.CategoricalLikelihood(M(2, [4], (*SHAPE, 5))),
    "discretized-logistic": lambda: lvm.DiscretizedLogisticLikelihood(M(2, [4], (*SHAPE, 3))),
    "logistic-mixture": lambda: lvm.DiscretizedLogisticLikelihood(M(2, [4], (*SHAPE, 9)), num_components=3, num_levels=17),
    "poisson": lambda: lvm.PoissonLikelihood(M(2, [4], SHAPE)),
    "negative-binomial": lambda: lvm.NegativeBinomialLikelihood(M(2, [4], SHAPE), dispersion=EACH, learn_dispersion=True),
    "zero-inflated-negative-binomial": lambda: lvm.ZeroInflatedNegativeBinomialLikelihood(
        M(2, [4], SHAPE), dispersion=EACH, learn_dispersion=True, gate=EACH / 4, learn_gate=True
    ),
    "multinomial": lambda: lvm.MultinomialLikelihood(M(2, [4], (2, 1)), dispersion=0.5, learn_dispersion=True),
    "gaussian": lambda: lvm.GaussianLikelihood(M(2, [4], SHAPE), scale=EACH, learn_scale=True),
    "gaussian-fixed": lambda: lvm.GaussianLikelihood(M(2, [4], SHAPE), scale=0.1),
    "student-t": lambda: lvm.StudentTLikelihood(M(2, [4], SHAPE), df=EACH, scale=EACH, learn_df=True, learn_scale=True),
    "mixed-real": lambda: lvm.MixedLikelihood(M(2, [4], 3), ["real"] * 3, [0] * 3, loc=EACH.flatten()[:3], scale=EACH.flatten()[1:]),
    "mixed-codes": lambda: lvm.MixedLikelihood(M(2, [4], 5), ["binary", "category", "ordinal"], [2, 3, 4]),
    "conv": lambda: lvm.BernoulliLikelihood(lvm.ConvDecoder(2, [3], (1, 8, 8))),
}


def linear(prior: nn.Module, encoder: nn.Module, latent_dim: int = 2) -> nn.Module:
    return lvm.VAE(prior, lvm.BernoulliLikelihood(M(latent_dim, [4], 6)), encoder)


PAIRS = {
    "vae": lambda: linear(lvm.GaussianMixturePrior(2, 3), lvm.NormalEncoder(M(6, [4], 4))),
    "vqvae": lambda: lvm.VQVAE(
        lvm.CategoricalCodePrior((3,), 4),
        lvm.BernoulliLikelihood(M((3, 2), [4], 6)),
        lvm.VectorQuantizer(M(6, [4], (3, 2)), 4, decay=None),
    ),
}


@pytest.mark.parametrize("name", PRIORS)
def test_priors(name: str) -> None:
    said = check_prior(PRIORS[name], tolerance=0.01 if name == "resampled" else 1e-4)  # whose normalizer is estimated
    assert any(line.startswith(("the density integrates to", "masses add up to")) for line in said)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders(name: str) -> None:
    x = torch.rand(3, X, generator=torch.Generator().manual_seed(0))
    assert any(line.startswith("rows are independent") for line in check_encoder(ENCODERS[name], x))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods(name: str) -> None:
    z = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert any(line.startswith("rows are independent") for line in check_likelihood(LIKELIHOODS[name], z))


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name: str) -> None:
    x = torch.randint(2, (5, 6), generator=torch.Generator().manual_seed(0)).float()
    assert check_pair(PAIRS[name], x)[0] == "the contract holds"
