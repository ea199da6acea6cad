"""Pairs that are composed of this library's parts."""

import torch
from torch import nn

import pyro_lvm as lvm
from zoo.registry import D, binary, counts, entry, images, real


def vae(prior=None, likelihood=None, encoder=None, latents=2, out=2 * 2):
    return lvm.VAE(
        prior or lvm.StandardNormal(latents),
        likelihood or lvm.GaussianLikelihood(lvm.MLP(latents, [8], D)),
        encoder or lvm.NormalEncoder(lvm.MLP(D, [8], out)),
    )


def codes(encoder, prior=lvm.UniformCodePrior):
    shape, size = encoder.code_shape, encoder.num_codes
    return lvm.VQVAE(prior(shape, size), lvm.BernoulliLikelihood(lvm.MLP((2, 3), [8], D)), encoder)


@entry(real)
def vae_normal():
    return vae()


@entry(real)
def vae_batch_norm_and_dropout():
    norm = nn.BatchNorm1d(D)
    norm.running_mean.normal_()
    return vae(encoder=lvm.NormalEncoder(nn.Sequential(norm, nn.Linear(D, 8), nn.Dropout(0.5), nn.Linear(8, 4))))


@entry(real)
def vae_mixture_prior():
    return vae(lvm.GaussianMixturePrior(2, 4))


@entry(binary)
def vae_vamp_prior():
    encoder = lvm.NormalEncoder(lvm.MLP(D, [8], 4))
    return vae(lvm.VampPrior(encoder, torch.rand(5, D)), lvm.BernoulliLikelihood(lvm.MLP(2, [8], D)), encoder)


@entry(real)
def vae_flow_prior():
    return vae(lvm.FlowPrior(lvm.maf(2)))


@entry(real)
def vae_full_rank_guide():
    return vae(encoder=lvm.FullRankNormalEncoder(lvm.MLP(D, [8], 5), 2))


@entry(real)
def vae_flow_guide():
    return vae(encoder=lvm.FlowEncoder(lvm.MLP(D, [8], 4 + 3), lvm.iaf(2, 3)))


@entry(real)
def vae_laplace():
    return vae(lvm.LaplacePrior(2), encoder=lvm.LaplaceEncoder(lvm.MLP(D, [8], 4)))


@entry(real)
def vae_student_t():
    likelihood = lvm.StudentTLikelihood(lvm.MLP(2, [8], D), learn_df=True, learn_scale=True)
    return vae(lvm.StudentTPrior(2), likelihood, lvm.StudentTEncoder(lvm.MLP(D, [8], 4)))


@entry(counts)
def vae_simplex():
    likelihood = lvm.PoissonLikelihood(lvm.MLP(3, [8], D))
    return vae(lvm.DirichletPrior(3), likelihood, lvm.DirichletEncoder(lvm.MLP(D, [8], 3)))


@entry(counts)
def vae_sphere():
    likelihood = lvm.NegativeBinomialLikelihood(lvm.MLP(3, [8], D), learn_dispersion=True)
    return vae(lvm.UniformSpherePrior(3), likelihood, lvm.PowerSphericalEncoder(lvm.MLP(D, [8], 4)))


@entry(images)
def vae_of_images():
    encoder, decoder = lvm.ConvEncoder((1, 8, 8), [4], 4), lvm.ConvDecoder((2,), [4], (1, 8, 8))
    return lvm.VAE(lvm.StandardNormal(2), lvm.BernoulliLikelihood(decoder), lvm.NormalEncoder(encoder))


@entry(binary)
def hierarchy_stacked():
    levels = lvm.stacked(D, [2, 3], [8, 8])
    return lvm.HierarchicalVAE(lvm.VampPrior(levels.top(), torch.rand(5, D)), levels, lvm.BernoulliLikelihood(lvm.MLP(5, [8], D)))


@entry(binary)
def hierarchy_ladder():
    return lvm.HierarchicalVAE(lvm.StandardNormal(2), lvm.ladder(D, [2, 3], [8]), lvm.BernoulliLikelihood(lvm.MLP(8, [8], D)))


@entry(binary)
def vq_nearest():
    return codes(lvm.VectorQuantizer(lvm.MLP(D, [8], (2, 3)), 5))


@entry(binary)
def vq_soft():
    return codes(lvm.VectorQuantizer(lvm.MLP(D, [8], (2, 3)), 3), lvm.CategoricalCodePrior).soft(0.5)


@entry(binary, double=False)
def vq_enumerated():
    return codes(lvm.VectorQuantizer(lvm.MLP(D, [8], (2, 3)), 3), lvm.CategoricalCodePrior).enumerated()


@entry(binary)
def vq_transformer():
    encoder = lvm.VectorQuantizer(lvm.MLP(D, [8], (2, 3)), 3)
    return codes(encoder, lambda *size: lvm.TransformerPrior(*size, width=8, depth=1, heads=2)).soft(0.5)


@entry(binary)
def fsq_soft():
    encoder = lvm.FSQ(lvm.MLP(D, [8], (2, 2)), (2, 3))
    return lvm.VQVAE(lvm.UniformCodePrior((2,), 6), lvm.BernoulliLikelihood(lvm.MLP((2, 2), [8], D)), encoder).soft(0.3)


@entry(binary)
def codes_gumbel():
    return codes(lvm.GumbelEncoder(lvm.MLP(D, [8], (2, 4)), 3))


@entry(binary)
def codes_straight_through():
    return codes(lvm.StraightThroughEncoder(lvm.MLP(D, [8], (2, 4)), 3))


@entry(real)
def two_stages():
    second = vae(likelihood=lvm.GaussianLikelihood(lvm.MLP(2, [8], 2)), encoder=lvm.NormalEncoder(lvm.MLP(2, [8], 4)))
    return lvm.TwoStageVAE(vae(), second)


@entry(real)
def vae_with_another_prior():
    return vae().with_prior(lvm.GaussianMixturePrior(2, 3))
