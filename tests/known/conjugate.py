"""Conjugate models: latents that are positive, in the unit interval, on the simplex, on the circle, and of two kinds."""

from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
from scipy import special, stats
import torch

from known.integrals import integrate
from known.registry import N, entry, generator, known, pair_of, tensor
from pyro_lvm import LogisticNormal, Pair

SHAPE, RATE = 2.0, 0.5
TRIALS = 20


def gamma_poisson(guide):
    """z ~ Gamma(2, .5), x ~ Poisson(z): x is negative binomial, and the posterior Gamma(2 + x, 1.5)."""
    draw = generator(6)
    x = draw.poisson(draw.gamma(SHAPE, 1 / RATE, size=N)).astype(float)
    pair = pair_of(dist.Gamma(tensor(SHAPE), tensor(RATE)), dist.Poisson, lambda x: guide(SHAPE + x, tensor(RATE + 1)))
    return known(pair, x, stats.nbinom(SHAPE, RATE / (RATE + 1)).logpmf(x))


def sharper(factor):
    """A gamma guide with the same mean, and ``factor`` times the concentration."""
    return lambda shape, rate: dist.Gamma(factor * shape, factor * rate)


def log_normal(shape, rate):
    """The log-normal guide that has mean and variance of log z."""
    return dist.LogNormal(torch.digamma(shape) - rate.log(), torch.polygamma(1, shape).sqrt())


def beta_binomial(guide):
    """z ~ Beta(2, 3), x ~ Binomial(20, z): the posterior is Beta(2 + x, 23 - x)."""
    draw = generator(7)
    x = draw.binomial(TRIALS, draw.beta(2, 3, size=N)).astype(float)
    pair = pair_of(dist.Beta(tensor(2), tensor(3)), lambda z: dist.Binomial(TRIALS, z), lambda x: guide(2 + x, 3 + TRIALS - x))
    return known(pair, x, stats.betabinom(TRIALS, 2, 3).logpmf(x))


def uniform(a, b, *, width):
    """A uniform guide over ``width`` standard deviations on each side of the mean."""
    mean = a / (a + b)
    sd = (mean * (1 - mean) / (a + b + 1)).sqrt()
    return dist.Uniform((mean - width * sd).clamp_min(0), (mean + width * sd).clamp_max(1))


def dirichlet_multinomial(guide):
    """z ~ Dirichlet, x ~ Multinomial(20, z)."""
    concentration = np.array([0.6, 1.0, 2.0, 4.0])
    draw = generator(8)
    x = np.array([draw.multinomial(TRIALS, z) for z in draw.dirichlet(concentration, size=N)]).astype(float)
    prior = dist.Dirichlet(tensor(concentration))
    pair = pair_of(prior, lambda z: dist.Multinomial(TRIALS, z), lambda x: guide(tensor(concentration) + x))
    return known(pair, x, stats.dirichlet_multinomial(concentration, TRIALS).logpmf(x))


def logistic_normal(concentration):
    """The logistic-normal guide with means and variances of the log proportions of a Dirichlet, as if these were independent."""
    return LogisticNormal(torch.digamma(concentration), torch.polygamma(1, concentration).sqrt())


def student_scales(guide):
    """tau ~ Gamma(3/2, 3/2), x ~ N(0, 1 / tau): x has a Student t distribution with 3 degrees of freedom."""
    x = stats.t(3).rvs(size=N, random_state=generator(9))
    pair = pair_of(dist.Gamma(tensor(1.5), tensor(1.5)), lambda z: dist.Normal(0.0, z.rsqrt()), lambda x: guide(tensor(2), 1.5 + x**2 / 2))
    return known(pair, x, stats.t(3).logpdf(x))


def laplace_scales(*, scale):
    """v ~ Exp(1), x ~ N(0, 2 v): x has a Laplace distribution; a log-normal guide, its spread ``scale`` times that of log v."""
    x = stats.laplace.rvs(size=N, random_state=generator(10))
    _, loc, sd = integrate(lambda u: u / 2 - np.exp(u) - x[:, None] ** 2 / 4 * np.exp(-u), -40, 6)  # of u = log v

    def model(x, loc, sd):
        with pyro.plate("data", len(x)):
            v = pyro.sample("v", dist.Exponential(tensor(1)))
            pyro.sample("x", dist.Normal(0.0, (2 * v).sqrt()), obs=x)

    def guide(x, loc, sd):
        with pyro.plate("data", len(x)):
            pyro.sample("v", dist.LogNormal(loc, scale * sd))

    return known(Pair(model, guide), x, stats.laplace.logpdf(x), loc, sd)


def normal_gamma(guide):
    """tau ~ Gamma(3, 2), m ~ N(0, 1 / (tau / 2)), five x ~ N(m, 1 / tau): x has a multivariate Student t distribution."""
    count, precision, shape, rate = 5, 0.5, 3.0, 2.0
    spread = np.eye(count) + 1 / precision
    x = stats.multivariate_t(np.zeros(count), rate / shape * spread, df=2 * shape).rvs(size=N, random_state=generator(11))

    def model(x):
        with pyro.plate("data", len(x)):
            tau = pyro.sample("tau", dist.Gamma(tensor(shape), tensor(rate)))
            m = pyro.sample("m", dist.Normal(0.0, (precision * tau).rsqrt()))
            pyro.sample("x", dist.Normal(m[..., None], tau.rsqrt()[..., None]).expand([*m.shape, count]).to_event(1), obs=x)

    def guided(x):
        mean = x.sum(-1) / (precision + count)
        b = rate + (x.square().sum(-1) - (precision + count) * mean**2) / 2
        with pyro.plate("data", len(x)):
            guide(tensor(shape + count / 2), b, mean, precision + count)

    log_px = stats.multivariate_t(np.zeros(count), rate / shape * spread, df=2 * shape).logpdf(x)
    return known(Pair(model, guided), x, log_px)


def joint_posterior(shape, rate, mean, count):
    tau = pyro.sample("tau", dist.Gamma(shape, rate))
    pyro.sample("m", dist.Normal(mean, (count * tau).rsqrt()))


def separate(shape, rate, mean, count):
    """The mean-field guide that ignores how the spread of m depends on tau."""
    pyro.sample("tau", dist.Gamma(2 * shape, 2 * rate))
    pyro.sample("m", dist.Normal(mean, (count * shape / rate).rsqrt()))


def angles(*, sharpness):
    """z ~ von Mises(0, 1) on the circle, x ~ N((cos z, sin z), 1): the posterior is von Mises again.

    torch gives the real line as the support of this density, over which it repeats: outside one turn it must not be counted again.
    """
    draw = generator(12)
    z = draw.vonmises(0, 1, size=N)
    x = np.stack([np.cos(z), np.sin(z)], -1) + draw.normal(size=(N, 2))
    length = np.linalg.norm([1.0, 0.0] + x, axis=1)
    log_px = np.log(special.i0(length)) - np.log(special.i0(1)) - (x**2).sum(1) / 2 - 0.5 - np.log(2 * np.pi)

    def guide(x):
        point = tensor([1, 0]) + x
        return dist.VonMises(torch.atan2(point[..., 1], point[..., 0]), sharpness * point.norm(dim=-1))

    prior = dist.VonMises(tensor(0), tensor(1))
    return known(pair_of(prior, lambda z: dist.Normal(torch.stack([z.cos(), z.sin()], -1), 1.0).to_event(1), guide), x, log_px)


CLOSED = {"source": "closed form"}
entry("gamma-poisson, exact", partial(gamma_poisson, dist.Gamma), guide="exact", **CLOSED)
entry("gamma-poisson, log-normal", partial(gamma_poisson, log_normal), guide="good", **CLOSED)
entry("gamma-poisson, narrow", partial(gamma_poisson, sharper(4.0)), guide="narrow", pareto_k=0.75, **CLOSED)
entry("beta-binomial, exact", partial(beta_binomial, dist.Beta), guide="exact", **CLOSED)
entry("beta-binomial, uniform", partial(beta_binomial, partial(uniform, width=1.0)), guide="small support", **CLOSED)
entry("beta-binomial, uniform, wider", partial(beta_binomial, partial(uniform, width=2.5)), guide="small support", **CLOSED)
entry("dirichlet-multinomial, exact", partial(dirichlet_multinomial, dist.Dirichlet), guide="exact", **CLOSED)
entry("dirichlet-multinomial, narrow", partial(dirichlet_multinomial, lambda a: dist.Dirichlet(3 * a)), guide="narrow", **CLOSED)
entry("dirichlet-multinomial, logistic-normal", partial(dirichlet_multinomial, logistic_normal), guide="light tails", **CLOSED)
entry("student scales, exact", partial(student_scales, dist.Gamma), guide="exact", **CLOSED)
entry("student scales, narrow", partial(student_scales, sharper(4.0)), guide="narrow", pareto_k=0.75, **CLOSED)
entry("laplace scales, log-normal", partial(laplace_scales, scale=1.0), guide="light tails", **CLOSED)
entry("laplace scales, narrow", partial(laplace_scales, scale=0.5), guide="narrow", **CLOSED)
entry("normal-gamma, exact", partial(normal_gamma, joint_posterior), guide="exact", **CLOSED)
entry("normal-gamma, factorized", partial(normal_gamma, separate), guide="factorized", **CLOSED)
entry("angles, exact", partial(angles, sharpness=1.0), guide="exact", **CLOSED)
entry("angles, narrow", partial(angles, sharpness=3.0), guide="narrow", **CLOSED)
