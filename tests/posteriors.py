"""Pairs whose data hold their own posteriors, so that the codes may be distributed in any way."""

import pyro
import pyro.distributions as dist
import torch

from pyro_lvm import Pair

QUIET = {"progress": False}


def normal_pair(prior):
    """Data hold the mean and the scale of their own q(z|x), so that q(z) may be any mixture."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(torch.cat([z, z], -1), 1.0).to_event(1), obs=x)

    def guide(x):
        loc, scale = x.chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    return Pair(model, guide)


def standard(latent_dim):
    return dist.Normal(torch.zeros(latent_dim).double(), 1.0).to_event(1)


def encoded(loc, scale):
    return torch.cat([loc, scale * torch.ones_like(loc)], -1)


def matched(num_data, latent_dim, scale, seed=0):
    """Data whose q(z) would be the standard normal if there were infinitely many."""
    generator = torch.Generator().manual_seed(seed)
    loc = torch.randn(num_data, latent_dim, generator=generator, dtype=torch.float64)
    return encoded((1 - scale**2) ** 0.5 * loc, scale)


def close(diagnosis, name, expected):
    error = diagnosis.standard_errors[name]
    assert abs(getattr(diagnosis, name) - expected) < 4 * error, (name, getattr(diagnosis, name), expected, error)
    return error


def kl(q, p, cell):
    return float((torch.special.xlogy(q, q) - torch.special.xlogy(q, p)).sum() * cell)
