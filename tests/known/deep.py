"""Deep decoders, whose log p(x) nobody knows: it is bracketed from both sides on data simulated from the model."""

from dataclasses import dataclass
from functools import cache

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from inference import BidirectionalBounds, bidirectional
from pyro_lvm import Pair

NUM_DATA, PIXELS, CHAINS, STEPS = 24, 60, 16, 100
GUIDES = {"prior": (0.0, 1.0), "fitted": (1.0, 0.5), "narrow": (1.0, 0.1), "off": (-1.0, 0.5)}  # share of a linear prediction, and scale


@dataclass(frozen=True)
class Deep:
    """A pair with data simulated from its model, and bounds on their log p(x)."""

    pair: Pair
    bounds: BidirectionalBounds


def decoder(num_latents: int) -> nn.Module:
    """A network of two hidden layers with random weights, large enough to bend posteriors."""
    torch.manual_seed(num_latents)
    layers = nn.Sequential(nn.Linear(num_latents, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, PIXELS)).double()
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.mul_(2.5)
    return layers.requires_grad_(False)


def regression(network: nn.Module, num_latents: int) -> Tensor:
    """The linear map from x, and a constant, to z with the least squared error on simulated data."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4000, num_latents, generator=generator, dtype=torch.float64)
    x = torch.bernoulli(network(z).sigmoid(), generator=generator)
    return torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1).double()], dim=1), z).solution


def pair_of(num_latents: int, guide: str) -> Pair:
    network, (share, scale) = decoder(num_latents), GUIDES[guide]
    weights = share * regression(network, num_latents)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(num_latents), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=network(z)).to_event(1), obs=x)

    def q(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ weights[:-1] + weights[-1], scale).to_event(1))

    return Pair(model, q)


@cache
def deep(num_latents: int, guide: str) -> Deep:
    """Return a pair and what is known of its data, whatever the guide; bounds take some seconds."""
    if guide == "prior":
        pair = pair_of(num_latents, guide)
        x = torch.zeros(NUM_DATA, PIXELS, dtype=torch.float64)
        return Deep(pair, bidirectional(pair, x, num_particles=CHAINS, num_steps=STEPS, seed=1, progress=False, compile=False))
    return Deep(pair_of(num_latents, guide), deep(num_latents, "prior").bounds)
