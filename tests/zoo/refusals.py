"""Pairs without a likelihood per datum: the message must say why."""

import pyro
import pyro.distributions as dist
from pyro.infer.autoguide import AutoNormal
import torch
from torch import nn

from pyro_lvm import Pair
from zoo.registry import D, N, entry, masked, real, scalars
from zoo.sites import normal_guide, standard


@entry(scalars, refusal="plate")
def latent_of_all_data():
    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 3.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    return Pair(model, AutoNormal(model))


@entry(real, refusal="Delta")
def point_mass():
    decoder, encoder = nn.Linear(2, D), nn.Linear(D, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(encoder(x), event_dim=1))

    return Pair(model, guide)


@entry(masked, refusal="masked distribution")
def summed_out_with_a_masked_distribution():
    def model(x, seen):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(3)).mask(seen), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(c.float(), 1.0), obs=x[:, 0])

    return Pair(model, lambda x, seen: None)


@entry(real, refusal="plate")
def second_plate():
    def model(x):
        with pyro.plate("data", len(x), dim=-1), pyro.plate("features", D, dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.T)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1), pyro.plate("features", D, dim=-2):
            pyro.sample("z", dist.Normal(x.T / 2, 0.7))

    return Pair(model, guide)


@entry(lambda: real(features=1), refusal="shape")
def column_against_a_scalar():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0] / 2, 0.7))

    return Pair(model, guide)


@entry(real, refusal="shape")
def one_parameter_for_several_features():
    encoder = nn.Linear(D, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), 1.0).to_event(1), obs=x)

    return Pair(model, normal_guide(encoder))


@entry(scalars, refusal="guide")
def latent_that_the_guide_lacks():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            s = pyro.sample("s", dist.LogNormal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, s), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.7))

    return Pair(model, guide)


@entry(scalars, refusal="support")
def data_outside_the_support():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Bernoulli(logits=z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.7))

    return Pair(model, guide)


@entry(scalars, refusal="plate")
def without_a_plate():
    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(N), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(x / 2, 0.7).to_event(1))

    return Pair(model, guide)
