"""How often ``calibrate`` is right about guides of conjugate models: ``python tests/calibration_rates.py 200 [MODEL ...] [GUIDE ...]``.

Prints, for each model and guide, the share of simulations in which nothing is found, and in which the words of the last column are found
about a latent.
"""

from collections.abc import Callable
import sys

import pyro
import pyro.distributions as dist
import torch

from inference import calibrate
from pyro_lvm import Pair

VALUES = torch.arange(40).double()
NOISE = 4.0


def linear_normal(scale: float = 1.0, shift: float = 0.0) -> Pair:
    """Two latents, x = W z + noise; the guide has ``scale`` times the posterior's scale, and is off by ``shift`` of its deviations."""
    weight = torch.tensor([[1.0, 0.5], [-0.5, 1.0], [0.3, 0.3]]).double()
    precision = torch.eye(2).double() + weight.T @ weight
    covariance = precision.inverse()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight.T, 1.0).to_event(1), obs=x)

    def guide(x):
        center = x @ weight @ covariance + shift * covariance.diagonal().sqrt()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(center, scale**2 * covariance))

    return Pair(model, guide)


def gamma_poisson(scale: float = 1.0, shift: float = 0.0) -> Pair:
    """z ~ Gamma(8, 2), x ~ Poisson(z); the guide has ``scale`` times the posterior's standard deviation."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(torch.tensor(8.0).double(), 2.0))
            pyro.sample("x", dist.Poisson(z), obs=x)

    def guide(x):
        mean, variance = (8 + x) / 3, scale**2 * (8 + x) / 9
        mean = mean + shift * variance.sqrt()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Gamma(mean**2 / variance, mean / variance))

    return Pair(model, guide)


def discrete_normal(scale: float = 1.0, shift: float = 0.0) -> Pair:
    """z in 0, ..., 39 with the masses of a normal density, x ~ N(z, 4^2); the guide has those of one with ``scale`` times the scale."""
    prior = dist.Normal(19.5, 6.0).log_prob(VALUES)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(logits=prior))
            pyro.sample("x", dist.Normal(z.double(), NOISE), obs=x)

    def guide(x):
        variance = 1 / (1 / 36 + 1 / NOISE**2)
        center = variance * (19.5 / 36 + x / NOISE**2) + shift * variance**0.5
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=dist.Normal(center[..., None], scale * variance**0.5).log_prob(VALUES)))

    return Pair(model, guide)


MODELS: dict[Callable[..., Pair], torch.Tensor] = {
    linear_normal: torch.zeros(4, 3).double(),
    gamma_poisson: torch.ones(4).double(),
    discrete_normal: torch.zeros(4).double(),
}
GUIDES = {
    "exact": ({}, ""),
    "wide": ({"scale": 1.2}, "too wide"),
    "narrow": ({"scale": 0.8}, "too narrow"),
    "off": ({"shift": 0.3}, "shifted up"),
}


def main(count: int, names: list[str]) -> None:
    for make, rows in MODELS.items():
        for name, (options, word) in GUIDES.items():
            if not {make.__name__, name} <= (set(names) or {make.__name__, name}):
                continue
            found = [calibrate(make(**options), rows, seed=seed, chunk_size=4200).findings for seed in range(count)]
            nothing = sum(not each for each in found)
            right = sum(any(word in words for words in each.values()) for each in found) if word else nothing
            print(
                f"{make.__name__:<16} {name:<7} nothing found {nothing / count:6.1%}, {word or 'nothing'} {right / count:6.1%}", flush=True
            )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
