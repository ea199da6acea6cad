"""Discrete latents: summed out exactly (latent classes, mixtures, a hidden Markov model), or drawn by the guide."""

from functools import cache, partial
from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
from scipy import stats
from scipy.special import logsumexp
import torch

from known.published import CARCINOMA
from known.registry import N, entry, generator, known, tensor
from pyro_lvm import Pair

RATINGS = np.array([[int(digit) for digit in pattern] for pattern in CARCINOMA], dtype=float)
SLIDES = np.array(list(CARCINOMA.values()))
STARTS, ROUNDS = 8, 3000
EPSILON = 1e-12  # some fitted probabilities are 0 or 1


def pair_without_draws(model):
    return Pair(model, lambda *batch: None)


def log_ratings(shares, positive):
    """log p(pattern, class), shape [..., patterns, C]."""
    return np.log(shares)[..., None, :] + RATINGS @ np.log(positive).mT + (1 - RATINGS) @ np.log1p(-positive).mT


def log_patterns(shares, positive):
    return logsumexp(log_ratings(shares, positive), axis=-1)


@cache
def fitted_classes(classes):
    """Shares of the classes, and probabilities of a positive rating in each: maximum likelihood by EM, the best of some starts."""
    shares = np.full((STARTS, classes), 1 / classes)
    positive = generator(0).uniform(0.1, 0.9, size=(STARTS, classes, RATINGS.shape[1]))
    for _ in range(ROUNDS):
        joint = log_ratings(shares, positive)
        counts = SLIDES[:, None] * np.exp(joint - logsumexp(joint, axis=-1, keepdims=True))  # [S, patterns, C]
        totals = counts.sum(1)  # [S, C]
        shares = totals / SLIDES.sum()
        positive = (counts.mT @ RATINGS / totals[..., None]).clip(EPSILON, 1 - EPSILON)
    best = (log_patterns(shares, positive) @ SLIDES).argmax()
    return shares[best], positive[best]


def carcinoma(classes):
    shares, positive = fitted_classes(classes)
    weights, probs = tensor(shares), tensor(positive)

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(weights), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Bernoulli(probs[c]).to_event(1), obs=x)

    return known(pair_without_draws(model), RATINGS, log_patterns(shares, positive))


def markov(*, steps=8, states=3):
    """A hidden Markov chain with normal observations, summed out step by step: the forward algorithm."""
    draw = generator(19)
    start, moves = draw.dirichlet(np.ones(states)), draw.dirichlet(np.ones(states), size=states)
    loc = np.array([-1.5, 0.0, 2.0])
    x = draw.normal(size=(N, steps)) + loc[draw.integers(states, size=(N, steps))]
    start_t, moves_t, loc_t = (tensor(part) for part in (start, moves, loc))

    def model(x):
        state = None
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(steps)):
                probs = moves_t[state] if t else start_t
                state = pyro.sample(f"s{t}", dist.Categorical(probs), infer={"enumerate": "parallel"})
                pyro.sample(f"x{t}", dist.Normal(loc_t[state], 1.0), obs=x[:, t])

    emissions = stats.norm.logpdf(x[..., None], loc)  # [N, T, S]
    forward = np.log(start) + emissions[:, 0]
    for t in range(1, steps):
        forward = logsumexp(forward[..., None] + np.log(moves), axis=1) + emissions[:, t]
    return known(pair_without_draws(model), x, logsumexp(forward, axis=1))


def causes(guide, *, latents=6, features=8):
    """Six binary causes, counts with rates that they add up to: drawn by the guide, log p(x) by enumeration of the 64 states."""
    draw = generator(20)
    probs, effects = draw.uniform(0.2, 0.6, size=latents), 3 * draw.gamma(0.5, size=(latents, features))
    states = np.array(list(product([0.0, 1.0], repeat=latents)))
    log_prior = stats.bernoulli(probs).logpmf(states).sum(1)
    x = draw.poisson(0.5 + states[draw.choice(len(states), p=np.exp(log_prior), size=N)] @ effects).astype(float)
    joint = log_prior + stats.poisson(0.5 + states @ effects).logpmf(x[:, None]).sum(-1)  # [N, 64]
    log_px = logsumexp(joint, axis=1)
    marginals = tensor(np.exp(joint - log_px[:, None]) @ states)
    probs_t, effects_t = tensor(probs), tensor(effects)

    def model(x, marginals):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(probs_t).to_event(1))
            pyro.sample("x", dist.Poisson(0.5 + z @ effects_t).to_event(1), obs=x)

    def guided(x, marginals):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(guide(marginals)).to_event(1))

    return known(Pair(model, guided), x, log_px, marginals)


def blind(marginals):
    """All causes but the last, which the guide takes to be absent in all but one of a million draws."""
    return torch.cat([marginals[..., :-1].clamp(0.02, 0.98), torch.full_like(marginals[..., -1:], 1e-6)], -1)


for count in (2, 3, 4):
    entry(f"carcinoma, {count} classes", partial(carcinoma, count), guide="exact", source="EM, published total")
entry("hidden markov", markov, guide="exact", source="forward algorithm")
entry("binary causes, softened", partial(causes, lambda m: 0.8 * m + 0.1), guide="good", source="enumeration")
entry("binary causes, sharp", partial(causes, lambda m: m.clamp(1e-3, 1 - 1e-3)), guide="factorized", source="enumeration")
entry("binary causes, blind to one", partial(causes, blind), guide="small support", source="enumeration")
