"""Objectives of several draws where a program scales its sites: all of them, as weights of the rows, or some of them."""

from contextlib import nullcontext
import math

import pyro
from pyro import poutine
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from inference import IWAE, DReG, KLWeight
from inference.densities.layout import BROADCAST, LOOPED, TILED
import pyro_lvm as lvm

pytestmark = pytest.mark.usefixtures("double")


def scaled(scale):
    return nullcontext() if scale is None else poutine.scale(scale=scale)


def two_observations(order="xy", of_x=None, of_all=None, of_z=None):
    """z ~ N(0, 1), x ~ N(z, 1), y ~ N(2 z, 1/2)."""

    def model(data):
        with pyro.plate("data", len(data)), scaled(of_all):
            with scaled(of_z):
                z = pyro.sample("z", dist.Normal(torch.tensor(0.0), 1.0))
            for name in order:
                with scaled(of_x if name == "x" else None):
                    loc, scale, value = (z, 1.0, data[..., 0]) if name == "x" else (2 * z, 0.5, data[..., 1])
                    pyro.sample(name, dist.Normal(loc, scale), obs=value)

    def guide(data):
        with pyro.plate("data", len(data)), scaled(of_all), scaled(of_z):
            pyro.sample("z", dist.Normal(0.4 * data[..., 1], 0.4))

    return model, guide


@pytest.mark.parametrize("order", ["xy", "yx"])
def test_the_scale_of_one_observation_is_a_power_inside_the_bound(order):
    """log of the integral of p(z) p(x|z)^0.1 p(y|z), whatever observation comes first."""
    data = torch.tensor([[0.3, -0.8], [1.5, 0.4]])
    x, y = data.T
    precision, linear = 1 + 0.1 + 4 / 0.25, 0.1 * x + 2 * y / 0.25
    constant = -0.05 * (math.log(2 * math.pi) + x**2) - 0.5 * (math.log(2 * math.pi * 0.25) + y**2 / 0.25)
    expected = (constant + linear**2 / (2 * precision) - math.log(precision) / 2).sum().item()
    torch.manual_seed(0)
    assert -IWAE(20_000).loss(*two_observations(order, of_x=0.1), data) == pytest.approx(expected, abs=0.02)


def test_a_scale_of_all_sites_stands_outside_of_the_bound_and_a_weight_of_the_kl_inside():
    data = torch.randn(5, 2)

    def loss(weight=1.0, **scales):
        kl, objective = KLWeight(weight), IWAE(3)
        torch.manual_seed(0)
        return objective.loss(*map(kl, two_observations(**scales)), data)

    for weight, of_z in ((1.0, None), (0.3, None), (1.0, 0.3)):
        assert loss(weight, of_z=of_z, of_all=0.01) == pytest.approx(0.01 * loss(weight, of_z=of_z))
    assert loss(of_z=0.3) == pytest.approx(loss(0.3)) != pytest.approx(loss())


def test_scales_that_leave_the_weight_of_a_datum_open_are_refused():
    with pytest.raises(ValueError, match="kl_weight of fit"):
        IWAE(3).loss(*two_observations(of_x=0.1, of_z=0.3), torch.randn(5, 2))


@pytest.mark.parametrize("layout", [BROADCAST, TILED, LOOPED], ids=lambda layout: layout.style)
@pytest.mark.parametrize("kind", [IWAE, DReG])
def test_weights_of_rows_multiply_losses_and_gradients_of_rows(kind, layout, monkeypatch):
    monkeypatch.setattr("inference.svi.objectives.particles.choose_layout", lambda *_: layout)
    encoder, decoder = nn.Linear(2, 1), nn.Linear(1, 2)
    x, some = torch.randn(4, 2), torch.rand(2, 4) + 0.1

    def model(x, weights):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)), poutine.scale(scale=weights):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)
            lvm.penalty("cost", z.sum(-1) ** 2)

    def guide(x, weights):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)), poutine.scale(scale=weights):
            pyro.sample("z", dist.Normal(encoder(x), 0.5).to_event(1))

    def found(weights):
        objective, kl = kind(3), KLWeight(0.5)
        objective.loss(kl(model), kl(guide), x, weights)
        torch.manual_seed(0)
        loss = objective.differentiable_loss(kl(model), kl(guide), x, weights)
        return [loss, *torch.autograd.grad(loss, [*encoder.parameters(), *decoder.parameters()])]

    for a, b, both in zip(*map(found, (*some, some.sum(0))), strict=True):
        torch.testing.assert_close(a + b, both)
