"""Item response models of the LSAT data: one logistic-normal latent for each pattern of answers, Gauss-Hermite quadrature."""

from functools import partial

import numpy as np
import pyro.distributions as dist
from scipy.special import logsumexp

from known.integrals import integrate
from known.published import LSAT_COUNTS, LSAT_PATTERNS, RASCH, TWO_PARAMETERS
from known.registry import RIGHT, entry, known, pair_of, tensor

SEEN = LSAT_COUNTS > 0


def log_answers(patterns, slopes, intercepts, z):
    """log p(pattern | z), shape [patterns, G]."""
    logits = np.outer(slopes, z) + intercepts[:, None]
    return -patterns @ np.logaddexp(0, -logits) - (1 - patterns) @ np.logaddexp(0, logits)


def log_patterns(patterns, slopes, intercepts, *, points=61):
    z, weights = np.polynomial.hermite_e.hermegauss(points)
    return logsumexp(log_answers(patterns, slopes, intercepts, z) + np.log(weights / weights.sum()), axis=1)


def items(parameters, guide):
    """z ~ N(0, 1), five answers with log odds a z + b; the data are the 30 patterns that occur."""
    x = LSAT_PATTERNS[SEEN]
    slopes, intercepts = (tensor(part) for part in parameters)
    _, mean, sd = integrate(lambda z: log_answers(x, *parameters, z) - z**2 / 2, -10, 10)
    pair = pair_of(
        dist.Normal(tensor(0), 1.0),
        lambda z: dist.Bernoulli(logits=z[..., None] * slopes + intercepts).to_event(1),
        lambda x, mean, sd: guide(mean, sd),
    )
    return known(pair, x, log_patterns(x, *parameters), mean, sd)


LSAT = {"source": "quadrature, published total"}
entry("lsat rasch, moments", partial(items, RASCH, dist.Normal), guide="good", **LSAT)
entry("lsat rasch, prior", partial(items, RASCH, lambda mean, sd: dist.Normal(0 * mean, 1.0)), guide="wide", must=RIGHT, **LSAT)
entry("lsat 2pl, narrow", partial(items, TWO_PARAMETERS, lambda mean, sd: dist.Normal(mean, 0.5 * sd)), guide="narrow", **LSAT)
entry("lsat 2pl, shifted", partial(items, TWO_PARAMETERS, lambda mean, sd: dist.Normal(mean + 3 * sd, sd)), guide="shifted", **LSAT)
