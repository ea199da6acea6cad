"""A planted hole, a ring of codes under a standard normal prior, found both ways; and what each cure makes of it."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from inference import codes_of, diagnose, fit_flow, fit_gaussian_mixture
from pyro_lvm import MLP, VAE, GaussianLikelihood, StandardNormal, VampPrior, spline

RADIUS, SCALE = 3.2, 0.15


class OwnPosterior(nn.Module):
    """Data hold the mean and the scale of their own q(z|x)."""

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        loc, scale = x.chunk(2, -1)
        return dist.Normal(loc, scale).to_event(1)


def ring(num_data: int, seed: int) -> Tensor:
    angle = 2 * math.pi * torch.rand(num_data, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    loc = RADIUS * torch.stack([angle.cos(), angle.sin()], 1)
    return torch.cat([loc, torch.full_like(loc, SCALE)], -1)


@pytest.fixture(scope="module")
def broken() -> VAE:
    torch.manual_seed(0)
    return VAE(StandardNormal(2), GaussianLikelihood(MLP(2, [8], 4)), OwnPosterior()).double()


CURES = {
    "mixture": lambda codes, valid: fit_gaussian_mixture(codes, valid, num_components=(20, 50)),
    "vamp": lambda codes, valid: VampPrior(OwnPosterior(), ring(2000, seed=0)[:200]),
    "flow": lambda codes, valid: fit_flow(codes, valid, flow=spline(2, transforms=2, hidden=(32, 32)), epochs=15, learning_rate=0.01),
}


def test_the_hole_is_found_both_ways(broken: VAE) -> None:
    found = diagnose(broken, ring(2000, seed=0), num_draws=1000, progress=False)
    assert found.holes_prior > 0.9 and found.holes_codes > 0.6 and found.auc > 0.97


@pytest.mark.parametrize("name", CURES)
def test_each_cure_closes_it(broken: VAE, name: str) -> None:
    x, valid = ring(2000, seed=0), ring(1000, seed=1)
    torch.manual_seed(0)
    prior = CURES[name](codes_of(broken, x), codes_of(broken, valid, seed=1))
    found = diagnose(broken.with_prior(prior), x, num_draws=1000, progress=False)
    assert found.holes_prior < 0.1 and found.holes_codes < 0.1
    assert found.auc < 0.5 + 6 * found.standard_errors["auc"]
