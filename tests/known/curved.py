"""Posteriors that are no normal: two modes, many modes, a banana, a funnel. log p(x) by quadrature over one latent."""

from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
from scipy import stats
import torch

from known.integrals import integrate
from known.registry import RIGHT, N, entry, generator, known, pair_of, tensor
from pyro_lvm import Pair


def standard(latents):
    return dist.Normal(torch.zeros(latents).double(), 1.0).to_event(1)


def squares(guide, *, latents=1, noise=0.1, low=1.0, high=3.0):
    """z ~ N(0, I), x ~ N(z^2, noise^2) element by element: the posterior has modes near +-sqrt(x), 2^D of them."""
    x = generator(13).uniform(low, high, size=(N, latents))
    half, mean, sd = integrate(lambda z: stats.norm.logpdf(z) + stats.norm(z**2, noise).logpdf(x[..., None]), 0, 8)  # of positive z
    pair = pair_of(standard(latents), lambda z: dist.Normal(z.square(), noise).to_event(1), lambda x, mean, sd: guide(mean, sd))
    return known(pair, x, (half + np.log(2)).sum(1), mean, sd)


def one_mode(mean, sd):
    return dist.Normal(mean, sd).to_event(1)


def both_modes(mean, sd):
    components = dist.Normal(torch.stack([mean, -mean], -2), torch.stack([sd, sd], -2)).to_event(1)
    return dist.MixtureSameFamily(dist.Categorical(torch.ones_like(components.mean[..., 0])), components)


def across(mean, sd):
    """A normal guide as wide as both modes."""
    return dist.Normal(torch.zeros_like(mean), mean + sd).to_event(1)


def banana(guide):
    """z_1, z_2 ~ N(0, 1), x ~ N(z_2 + z_1^2, .3^2): given z_1, the other latent has a normal posterior."""
    noise = 0.3
    draw = generator(14)
    x = draw.normal(size=N) + draw.normal(size=N) ** 2 + noise * draw.normal(size=N)
    spread = (1 + noise**2) ** 0.5
    log_px, _, sd = integrate(lambda z: stats.norm.logpdf(z) + stats.norm(z**2, spread).logpdf(x[:, None]), -8, 8)
    shrink = spread**-2

    def model(x, sd):
        with pyro.plate("data", len(x)):
            bend = pyro.sample("z1", dist.Normal(tensor(0), 1.0))
            z = pyro.sample("z2", dist.Normal(tensor(0), 1.0))
            pyro.sample("x", dist.Normal(z + bend**2, noise), obs=x)

    def guided(x, sd):
        with pyro.plate("data", len(x)):
            guide(x, sd, shrink, noise * shrink**0.5)

    return known(Pair(model, guided), x, log_px, sd)


def along(x, sd, shrink, inner):
    """z_1 a little wider than its posterior, whose mean is 0 and which may have two modes; z_2 exact given z_1."""
    bend = pyro.sample("z1", dist.Normal(torch.zeros_like(sd), 1.3 * sd))
    pyro.sample("z2", dist.Normal(shrink * (x - bend**2), inner))


def of_moments(x, sd, shrink, inner):
    """Independent normals as wide as the posterior."""
    pyro.sample("z1", dist.Normal(torch.zeros_like(sd), sd))
    pyro.sample("z2", dist.Normal(shrink * (x - sd**2), (inner**2 + 2 * (shrink * sd**2) ** 2).sqrt()))


def of_curvature(x, sd, shrink, inner):
    """Independent normals, each as narrow as the posterior is given the other latent."""
    pyro.sample("z1", dist.Normal(torch.zeros_like(sd), 0.5 * sd))
    pyro.sample("z2", dist.Normal(shrink * x, torch.full_like(sd, inner)))


def funnel(guide):
    """v ~ N(0, 2^2), y_1 ... y_4 ~ N(0, e^v), x ~ N(y, 1): given v, everything is normal."""
    draw = generator(15)
    v = 2 * draw.normal(size=N)
    x = np.exp(v / 2)[:, None] * draw.normal(size=(N, 4)) + draw.normal(size=(N, 4))
    log_px, mean, sd = integrate(lambda v: stats.norm(0, 2).logpdf(v) + log_normal(x, np.sqrt(np.exp(v) + 1)), -20, 20)

    def model(x, mean, sd):
        with pyro.plate("data", len(x)):
            v = pyro.sample("v", dist.Normal(tensor(0), 2.0))
            y = pyro.sample("y", dist.Normal(0.0, (v / 2).exp()[..., None]).expand([*v.shape, 4]).to_event(1))
            pyro.sample("x", dist.Normal(y, 1.0).to_event(1), obs=x)

    def guided(x, mean, sd):
        with pyro.plate("data", len(x)):
            guide(x, mean, sd)

    return known(Pair(model, guided), x, log_px, mean, sd)


def log_normal(x, sd):
    """log N(x | 0, sd^2) of vectors x, for each sd: ``[N, G]``."""
    return stats.norm(0, sd).logpdf(x[..., None]).sum(1)


def conditional(x, mean, sd):
    """v a little wider than its posterior, y exact given v."""
    v = pyro.sample("v", dist.Normal(mean, 1.3 * sd))
    gain = torch.sigmoid(v)[..., None]
    pyro.sample("y", dist.Normal(gain * x, gain.sqrt()).to_event(1))


def mean_field(x, mean, sd):
    """v and y independent, as a mean-field fit would have them."""
    pyro.sample("v", dist.Normal(mean, 0.7 * sd))
    gain = torch.sigmoid(mean)[..., None]
    pyro.sample("y", dist.Normal(gain * x, gain.sqrt().expand_as(x)).to_event(1))


QUADRATURE = {"source": "quadrature"}
NEAR = {"noise": 0.5, "low": 0.2, "high": 1.0}
entry("two modes, both", partial(squares, both_modes), guide="good", **QUADRATURE)
entry("two modes, across", partial(squares, across), guide="wide", must=RIGHT, **QUADRATURE)
entry("two modes, one", partial(squares, one_mode), guide="one mode", **QUADRATURE)
entry("two modes that meet, one", partial(squares, one_mode, **NEAR), guide="one mode", **QUADRATURE)
entry("256 modes, one", partial(squares, one_mode, latents=8), guide="one mode", **QUADRATURE)
entry("banana, along", partial(banana, along), guide="good", **QUADRATURE)
entry("banana, moments", partial(banana, of_moments), guide="light tails", **QUADRATURE)
entry("banana, curvature", partial(banana, of_curvature), guide="narrow", **QUADRATURE)
entry("funnel, conditional", partial(funnel, conditional), guide="good", **QUADRATURE)
entry("funnel, factorized", partial(funnel, mean_field), guide="factorized", **QUADRATURE)
