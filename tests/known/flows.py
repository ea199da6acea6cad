"""Guides that are flows: a linear Gaussian model in bent coordinates, and the library's own inverse autoregressive flow."""

from functools import partial

import numpy as np
import pyro.distributions as dist
from scipy import stats
import torch
from torch.distributions import Transform, constraints

from known.factors import Factors
from known.registry import N, entry, generator, known, pair_of, tensor
from pyro_lvm import FlowEncoder, iaf

NOISE = 0.5


class Bend(Transform):
    """z_1 = u_1, z_d = u_d + u_1^2 / 2: it preserves volumes."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __eq__(self, other):
        return isinstance(other, Bend)

    def _call(self, u):
        return torch.cat([u[..., :1], u[..., 1:] + u[..., :1] ** 2 / 2], -1)

    def _inverse(self, z):
        return torch.cat([z[..., :1], z[..., 1:] - z[..., :1] ** 2 / 2], -1)

    def log_abs_det_jacobian(self, u, z):
        return torch.zeros_like(u[..., 0])


def bent(guide, *, latents=3, features=4):
    """z = bend(u), x ~ N(W u, .5^2): the posterior of u is normal, and that of z is its image."""
    draw = generator(25)
    weight = draw.normal(size=(features, latents))
    x = draw.normal(size=(N, latents)) @ weight.T + NOISE * draw.normal(size=(N, features))
    covariance = np.linalg.inv(np.eye(latents) + weight.T @ weight / NOISE**2)
    weight_t, covariance_t = tensor(weight), tensor(covariance)
    prior = dist.TransformedDistribution(dist.Normal(torch.zeros(latents).double(), 1.0).to_event(1), [Bend()])
    pair = pair_of(
        prior,
        lambda z: dist.Normal(Bend().inv(z) @ weight_t.T, NOISE).to_event(1),
        lambda x: guide(x @ weight_t @ covariance_t / NOISE**2, covariance_t),
    )
    return known(pair, x, stats.multivariate_normal(np.zeros(features), weight @ weight.T + NOISE**2 * np.eye(features)).logpdf(x))


def flow(mean, covariance, *, scale=1.0):
    return dist.TransformedDistribution(dist.MultivariateNormal(mean, scale**2 * covariance), [Bend()])


def straight(mean, covariance):
    """A normal guide that does not know of the bend."""
    return dist.MultivariateNormal(Bend()(mean), covariance)


def autoregressive(*, spread):
    """Factor analysis with the library's flow guide, its networks as they were drawn, around the posterior mean."""
    factors, context = Factors(4, 8), 3
    network = torch.nn.Linear(8, 2 * 4 + context).double()
    gain = tensor(factors.covariance @ factors.weight.T / factors.noise**2)
    with torch.no_grad():
        network.weight[:8] = torch.cat([gain, torch.zeros_like(gain)])
        network.bias[:8] = torch.cat([torch.zeros(4), tensor(np.diag(factors.precision) ** -0.5 * spread).log()])
    guide = FlowEncoder(network, iaf(4, context, transforms=1, hidden=(8,)).double())
    return factors.known(lambda x: guide(x))


CLOSED = {"source": "closed form"}
entry("bent, flow, exact", partial(bent, flow), guide="exact", **CLOSED)
entry("bent, flow, narrow", partial(bent, partial(flow, scale=0.6)), guide="flow, narrow", pareto_k=0.64, **CLOSED)
entry("bent, normal", partial(bent, straight), guide="light tails", **CLOSED)
entry("factors-4, autoregressive flow", partial(autoregressive, spread=1.5), guide="flow", **CLOSED)
entry("factors-4, autoregressive flow, narrow", partial(autoregressive, spread=0.7), guide="flow, narrow", **CLOSED)
