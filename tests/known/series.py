"""A state space model: the levels of a hundred years as one datum with a hundred latents. log p(x) by the Kalman filter."""

from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from known.published import NILE, NILE_VARIANCES
from known.registry import Known, entry, generator, tensor
from pyro_lvm import Pair

NOISE, STEP = NILE_VARIANCES
YEARS, SERIES = len(NILE), 8


def simulated():
    """The Nile, then series drawn from the same model with the same first year."""
    draw = generator(24)
    level = NILE[0] + NOISE**0.5 * draw.normal(size=(SERIES - 1, 1))
    later = level + np.cumsum(STEP**0.5 * draw.normal(size=(SERIES - 1, YEARS - 1)), 1)
    drawn = later + NOISE**0.5 * draw.normal(size=later.shape)
    return np.concatenate([NILE[None], np.concatenate([np.full((SERIES - 1, 1), NILE[0]), drawn], 1)])


def log_later(y):
    """log p(y_2 ... y_T | y_1) by the Kalman filter: with a diffuse start, the level of year 1 is N(y_1, noise)."""
    mean, variance, total = y[:, 0], NOISE, np.zeros(len(y))
    for now in y[:, 1:].T:
        variance = variance + STEP
        spread = variance + NOISE
        total -= 0.5 * (np.log(2 * np.pi * spread) + (now - mean) ** 2 / spread)
        gain = variance / spread
        mean, variance = mean + gain * (now - mean), variance * (1 - gain)
    return total


def local_level(guide):
    """The latents are the error of the first level and the steps of the later ones, in units of their standard deviations."""
    y = simulated()
    scales = np.concatenate([[NOISE**0.5], np.full(YEARS - 1, STEP**0.5)])
    path = np.tril(np.ones((YEARS, YEARS)))[1:] * scales  # levels of the years 2 ... T from the innovations
    precision = np.eye(YEARS) + path.T @ path / NOISE
    gain_t, path_t = tensor(np.linalg.solve(precision, path.T / NOISE)), tensor(path)

    def model(later, first):
        with pyro.plate("data", len(later)):
            e = pyro.sample("e", dist.Normal(torch.zeros(YEARS).double(), 1.0).to_event(1))
            pyro.sample("y", dist.Normal(first + e @ path_t.T, NOISE**0.5).to_event(1), obs=later)

    def guided(later, first):
        with pyro.plate("data", len(later)):
            pyro.sample("e", guide((later - first) @ gain_t.T, precision))

    return Known(Pair(model, guided), (tensor(y[:, 1:]), tensor(y[:, :1])), tensor(log_later(y)))


def joint(mean, precision, *, scale=1.0):
    return dist.MultivariateNormal(mean, tensor(scale**2 * np.linalg.inv(precision)))


def factorized(mean, precision):
    return dist.Normal(mean, tensor(np.diag(precision) ** -0.5)).to_event(1)


KALMAN = {"source": "Kalman filter, published value"}
entry("nile, exact", partial(local_level, joint), guide="exact", **KALMAN)
entry("nile, narrow", partial(local_level, partial(joint, scale=0.8)), guide="narrow", pareto_k=0.36, **KALMAN)
entry("nile, factorized", partial(local_level, factorized), guide="factorized", **KALMAN)
