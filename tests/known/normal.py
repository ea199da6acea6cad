"""Normal latents under normal noise, with normal guides of every width and place: the true Pareto shape of the weights is known."""

from functools import partial

import pyro.distributions as dist
from scipy import stats
import torch

from known.registry import RIGHT, N, entry, generator, known, pair_of

SCALES = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # of the guide, in units of the posterior's


def normal(latents, *, scale=1.0, shift=0.0, num_data=N, seed=1):
    """z ~ N(0, I), x ~ N(z, I): the posterior is N(x / 2, I / 2).

    The guide's standard deviations are ``scale`` times the posterior's, and its means are off by ``shift`` of those. For a scale r < 1, the
    weights are exp((1 / r^2 - 1) |u|^2 / 2) of a normal u with standard deviation r, so their tail falls as w^(-1 / k), k = 1 - r^2.
    """
    x = generator(seed).normal(size=(num_data, latents)) * 2**0.5
    sd = 0.5**0.5
    pair = pair_of(
        dist.Normal(torch.zeros(latents).double(), 1.0).to_event(1),
        lambda z: dist.Normal(z, 1.0).to_event(1),
        lambda x: dist.Normal(x / 2 + shift * sd, scale * sd).to_event(1),
    )
    return known(pair, x, stats.norm(0, 2**0.5).logpdf(x).sum(1))


for latents in (1, 4):
    entry(f"normal-{latents}, exact", partial(normal, latents), guide="exact", source="closed form")
    for scale in SCALES:
        k = round(1 - scale**2, 2)
        make = partial(normal, latents, scale=scale)
        entry(f"normal-{latents}, narrow, k {k}", make, guide="narrow", source="closed form", pareto_k=k)
    entry(f"normal-{latents}, wide", partial(normal, latents, scale=2.0), guide="wide", source="closed form", must=RIGHT, pareto_k=0.0)
    for shift in (1.0, 3.0):
        make = partial(normal, latents, shift=shift)
        entry(f"normal-{latents}, shifted {shift:.0f}", make, guide="shifted", source="closed form", pareto_k=0.0)
    make = partial(normal, latents, scale=0.6, shift=2.0)
    entry(f"normal-{latents}, shifted 2, narrow", make, guide="shifted, narrow", source="closed form", pareto_k=0.64)
