"""Linear Gaussian models: factor analysis and PPCA, missing elements, all scales, two levels, and a VAE of the library's parts."""

from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
from scipy import stats
import torch

from known.registry import Known, N, entry, generator, known, pair_of, tensor
from pyro_lvm import VAE, GaussianLikelihood, NormalEncoder, Pair, StandardNormal


class Factors:
    """x = W z + noise, z ~ N(0, diag s^2): the posterior is normal with one covariance for all data."""

    def __init__(self, latents, features, *, scales=1.0, noise=None, seed=2):
        draw = generator(seed)
        self.scales = np.broadcast_to(scales, latents).astype(float)
        self.noise = 0.5 + draw.uniform(size=features) if noise is None else np.broadcast_to(noise, features)  # standard deviations
        self.weight = self.noise[:, None] * draw.normal(size=(features, latents)) * 1.5 / latents**0.5 / self.scales
        self.x = draw.normal(size=(N, latents)) * self.scales @ self.weight.T + draw.normal(size=(N, features)) * self.noise
        self.precision = np.diag(self.scales**-2) + self.weight.T @ (self.weight / self.noise[:, None] ** 2)
        self.covariance = np.linalg.inv(self.precision)

    def log_px(self):
        units = self.noise  # densities of x in units of the noise are well conditioned
        scaled = self.weight * self.scales / units[:, None]
        covariance = scaled @ scaled.T + np.eye(len(units))
        return stats.multivariate_normal(np.zeros(len(units)), covariance).logpdf(self.x / units) - np.log(units).sum()

    def mean(self, x):
        return x / tensor(self.noise) ** 2 @ tensor(self.weight) @ tensor(self.covariance)

    def known(self, guide):
        weight, noise, scales = (tensor(part) for part in (self.weight, self.noise, self.scales))
        prior = dist.Normal(torch.zeros_like(scales), scales).to_event(1)
        pair = pair_of(prior, lambda z: dist.Normal(z @ weight.T, noise).to_event(1), guide)
        return known(pair, self.x, self.log_px())


def exact(*size, scale=1.0, **options):
    """The posterior as guide, or one with all standard deviations ``scale`` times as large."""
    factors = Factors(*size, **options)
    root = scale * torch.linalg.cholesky(tensor(factors.covariance))
    return factors.known(lambda x: dist.MultivariateNormal(factors.mean(x), scale_tril=root))


def factorized(*size, **options):
    """The normal guide with independent latents that is nearest to the posterior in KL(q || p), the optimum of a mean-field fit."""
    factors = Factors(*size, **options)
    sd = tensor(np.diag(factors.precision) ** -0.5)
    return factors.known(lambda x: dist.Normal(factors.mean(x), sd).to_event(1))


def missing():
    """Factor analysis of which four elements in ten are not seen, with a factorized guide."""
    factors = Factors(5, 10)
    seen = generator(3).uniform(size=factors.x.shape) < 0.6
    weight, noise = tensor(factors.weight), tensor(factors.noise)

    def model(x, seen):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(5).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight.T, noise).mask(seen).to_event(1), obs=x)

    def guide(x, seen):
        masked = seen[..., None] * weight / noise[:, None] ** 2  # [B, X, D]
        precision = torch.eye(5).double() + masked.mT @ weight
        mean = torch.linalg.solve(precision, (x[:, None] @ masked).squeeze(1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(mean, precision.diagonal(dim1=1, dim2=2).rsqrt()).to_event(1))

    covariance = factors.weight @ factors.weight.T + np.diag(factors.noise**2)
    log_px = [stats.multivariate_normal(np.zeros(s.sum()), covariance[s][:, s]).logpdf(x[s]) for x, s in zip(factors.x, seen, strict=True)]
    return Known(Pair(model, guide), (tensor(factors.x), torch.as_tensor(seen)), tensor(log_px))


def vae(*, scale=1.0):
    """PPCA as a VAE of float32 parts; with orthogonal weights, the posterior is a diagonal normal."""
    latents, features, noise = 8, 12, 0.7
    draw = generator(4)
    weight = np.linalg.qr(draw.normal(size=(features, latents)))[0] * np.linspace(0.5, 2.5, latents)
    variance = 1 / (1 + (weight**2).sum(0) / noise**2)
    x = draw.normal(size=(N, latents)) @ weight.T + noise * draw.normal(size=(N, features))
    decoder, encoder = torch.nn.Linear(latents, features, bias=False), torch.nn.Linear(features, 2 * latents)
    with torch.no_grad():
        decoder.weight.copy_(tensor(weight))
        encoder.weight.copy_(torch.cat([tensor(weight * variance / noise**2).T, torch.zeros(latents, features).double()]))
        encoder.bias.copy_(torch.cat([torch.zeros(latents).double(), tensor(variance**0.5 * scale).log()]))
    pair = VAE(StandardNormal(latents), GaussianLikelihood(decoder, scale=noise), NormalEncoder(encoder))
    covariance = weight @ weight.T + noise**2 * np.eye(features)
    x = x.astype(np.float32)
    return known(pair, x, stats.multivariate_normal(np.zeros(features), covariance).logpdf(x))


def hierarchy(guide_of):
    """z2 ~ N(0, I), z1 ~ N(A z2, .6^2), x ~ N(B z1, .8^2)."""
    tops, latents, features = 3, 6, 10
    draw = generator(5)
    up, down = draw.normal(size=(latents, tops)), draw.normal(size=(features, latents)) / 2
    middle = up @ up.T + 0.36 * np.eye(latents)
    x = draw.multivariate_normal(np.zeros(features), down @ middle @ down.T + 0.64 * np.eye(features), size=N)
    precision = np.block([[np.eye(tops) + up.T @ up / 0.36, -up.T / 0.36], [-up / 0.36, np.eye(latents) / 0.36 + down.T @ down / 0.64]])
    gain = np.linalg.solve(precision, np.concatenate([np.zeros((tops, features)), down.T / 0.64]))
    up_t, down_t, gain_t = tensor(up), tensor(down), tensor(gain)

    def model(x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("z2", dist.Normal(torch.zeros(tops).double(), 1.0).to_event(1))
            z = pyro.sample("z1", dist.Normal(top @ up_t.T, 0.6).to_event(1))
            pyro.sample("x", dist.Normal(z @ down_t.T, 0.8).to_event(1), obs=x)

    def guide(x):
        mean = x @ gain_t.T
        with pyro.plate("data", len(x)):
            guide_of(mean[..., :tops], mean[..., tops:], precision)

    log_px = stats.multivariate_normal(np.zeros(features), down @ middle @ down.T + 0.64 * np.eye(features)).logpdf(x)
    return known(Pair(model, guide), x, log_px)


def top_down(top_mean, mean, precision, *, scale=1.0):
    """q(z2 | x) q(z1 | z2, x), exact if ``scale`` is 1."""
    tops = top_mean.shape[-1]
    top_covariance = tensor(np.linalg.inv(precision)[:tops, :tops])
    inner, cross = tensor(np.linalg.inv(precision[tops:, tops:])), tensor(precision[tops:, :tops])
    top = pyro.sample("z2", dist.MultivariateNormal(top_mean, scale**2 * top_covariance))
    pyro.sample("z1", dist.MultivariateNormal(mean - (top - top_mean) @ cross.T @ inner, scale**2 * inner))


def independent(top_mean, mean, precision):
    """A mean-field guide of both levels."""
    sd = tensor(np.diag(precision) ** -0.5)
    tops = top_mean.shape[-1]
    pyro.sample("z2", dist.Normal(top_mean, sd[:tops]).to_event(1))
    pyro.sample("z1", dist.Normal(mean, sd[tops:]).to_event(1))


CLOSED = {"source": "closed form"}
DECADES = {"scales": [1e-3, 0.1, 10.0, 1e3], "noise": 10.0 ** np.arange(-4, 5)}
entry("factors-30, exact", partial(exact, 30, 40), guide="exact", **CLOSED)
entry("factors-30, factorized", partial(factorized, 30, 40), guide="factorized", **CLOSED)
entry("ppca-20, exact", partial(exact, 20, 30, noise=0.7), guide="exact", **CLOSED)
entry("ppca-20, narrow", partial(exact, 20, 30, noise=0.7, scale=0.7), guide="narrow", pareto_k=0.51, **CLOSED)
entry("ppca-20, wide", partial(exact, 20, 30, noise=0.7, scale=1.5), guide="wide", pareto_k=0.0, **CLOSED)
entry("ppca-40, factorized", partial(factorized, 40, 60, noise=0.7), guide="factorized", **CLOSED)
entry("factors-300, factorized", partial(factorized, 300, 40, noise=0.7), guide="factorized", **CLOSED)
entry("nine decades, exact", partial(exact, 4, 9, **DECADES), guide="exact", **CLOSED)
entry("nine decades, factorized", partial(factorized, 4, 9, **DECADES), guide="factorized", **CLOSED)
entry("missing elements, factorized", missing, guide="factorized", **CLOSED)
entry("vae of parts, exact", vae, guide="exact", **CLOSED)
entry("vae of parts, narrow", partial(vae, scale=0.6), guide="narrow", pareto_k=0.64, **CLOSED)
entry("two levels, exact", partial(hierarchy, top_down), guide="exact", **CLOSED)
entry("two levels, narrow", partial(hierarchy, partial(top_down, scale=0.7)), guide="narrow", pareto_k=0.51, **CLOSED)
entry("two levels, factorized", partial(hierarchy, independent), guide="factorized", **CLOSED)
