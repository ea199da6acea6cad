"""Heavy tails, hard edges and counts of all sizes. log p(x) in closed form or by quadrature."""

from functools import partial

import numpy as np
import pyro.distributions as dist
from scipy import stats
import torch

from known.integrals import integrate
from known.registry import N, entry, generator, known, pair_of, tensor

LOG_MEAN, LOG_SD = 3.0, 2.5


def cauchy(guide, *, latents=1):
    """z_d and x_d - z_d have Cauchy distributions: the tails of the posterior fall as z^-4, and data far from 0 have two modes.

    The sum of two Cauchy variables is a Cauchy variable with scale 2.
    """
    x = 2 * stats.cauchy.rvs(size=(N, latents), random_state=generator(16)).clip(-4, 4)
    prior = dist.StudentT(1.0, torch.zeros(latents).double(), 1.0).to_event(1)
    pair = pair_of(prior, lambda z: dist.StudentT(1.0, z, 1.0).to_event(1), lambda x: guide(x).to_event(1))
    return known(pair, x, stats.cauchy(0, 2).logpdf(x).sum(1))


def spread(x):
    return 0.5 + x.abs() / 4


def poisson(sd_of):
    """z ~ N(3, 2.5^2), x ~ Poisson(e^z): counts from 0 to tens of thousands."""
    draw = generator(17)
    x = draw.poisson(np.exp(LOG_MEAN + LOG_SD * draw.normal(size=N))).astype(float)
    prior = stats.norm(LOG_MEAN, LOG_SD)
    log_px, loc, sd = integrate(lambda z: prior.logpdf(z) + stats.poisson(np.exp(z)).logpmf(x[:, None]), -20, 20)
    pair = pair_of(dist.Normal(tensor(LOG_MEAN), LOG_SD), lambda z: dist.Poisson(z.exp()), lambda x, loc, sd: dist.Normal(loc, sd_of(sd)))
    return known(pair, x, log_px, loc, sd)


def one_width(sd):
    """One standard deviation for all counts, as if the scale did not depend on x: too narrow for small ones, too wide for large."""
    return torch.full_like(sd, 0.3)


def box(*, width, noise=0.4):
    """z ~ Uniform(-1, 1), x ~ N(z, .4^2): the posterior is a truncated normal, the guide uniform over ``width`` of the prior's support."""
    draw = generator(18)
    x = draw.uniform(-1, 1, size=N) + noise * draw.normal(size=N)
    prior, guide = (dist.Uniform(tensor(-half), tensor(half)) for half in (1, width))
    normal = stats.norm(x, noise)
    return known(pair_of(prior, lambda z: dist.Normal(z, noise), lambda x: guide), x, np.log((normal.cdf(1) - normal.cdf(-1)) / 2))


CLOSED, QUADRATURE = {"source": "closed form"}, {"source": "quadrature"}
entry("cauchy, t guide", partial(cauchy, lambda x: dist.StudentT(2.0, x / 2, spread(x))), guide="good", **CLOSED)
entry("cauchy, normal guide", partial(cauchy, lambda x: dist.Normal(x / 2, spread(x))), guide="light tails", **CLOSED)
entry("cauchy-10, normal guide", partial(cauchy, lambda x: dist.Normal(x / 2, spread(x)), latents=10), guide="light tails", **CLOSED)
entry("poisson log-normal, moments", partial(poisson, lambda sd: 1.2 * sd), guide="good", **QUADRATURE)
entry("poisson log-normal, one width", partial(poisson, one_width), guide="narrow", **QUADRATURE)
entry("box, whole", partial(box, width=1.0), guide="good", **CLOSED)
entry("box, most of it", partial(box, width=0.7), guide="small support", **CLOSED)
