"""Discrete latents, drawn or summed out, and sequences."""

import pyro
import pyro.distributions as dist
from pyro.infer import config_enumerate
from pyro.ops.indexing import Vindex
import torch
from torch import nn
import torch.nn.functional as F

from pyro_lvm import Pair
from zoo.registry import D, T, binary, entry, real, scalars, sequences
from zoo.sites import normal_guide, standard

PARALLEL = {"enumerate": "parallel"}


def nothing(x):
    """Guide of a model without other latents."""


@entry(scalars)
def mixture_summed_out():
    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])), infer=PARALLEL)
            pyro.sample("x", dist.Normal(torch.tensor([-2.0, 0.0, 3.0])[c], 0.7), obs=x)

    return Pair(model, nothing)


@entry(real)
def mixture_of_features():
    start = torch.randn(3, D)

    @config_enumerate
    def model(x):
        means = pyro.param("means", start)
        weights = pyro.param("weights", torch.tensor([0.2, 0.5, 0.3]), constraint=dist.constraints.simplex)
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(weights))
            pyro.sample("x", dist.Normal(Vindex(means)[c], 0.7).to_event(1), obs=x)

    return Pair(model, nothing)


@entry(real)
def two_dependent_sites_summed_out():
    start, encoder, decoder = torch.randn(2, D), nn.Linear(D, 2), nn.Linear(2, D)
    transition = torch.tensor([[0.1, 1.2], [-0.4, 0.3], [0.9, -1.1]])

    def model(x):
        means = pyro.param("means", start)
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])), infer=PARALLEL)
            b = pyro.sample("b", dist.Categorical(logits=transition[a]), infer=PARALLEL)
            z = pyro.sample("z", standard(2))
            pyro.sample("x", dist.Normal(means[b] + decoder(z), 0.7 + 0.2 * a.float()[..., None]).to_event(1), obs=x)

    return Pair(model, normal_guide(encoder))


@entry(real)
def latent_below_a_summed_out_one():
    start, decoder, encoder = torch.randn(3, 2), nn.Linear(2, D), nn.Linear(D, 2)

    def model(x):
        means = pyro.param("means", start)
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])), infer=PARALLEL)
            z = pyro.sample("z", dist.Normal(means[c], 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    return Pair(model, normal_guide(encoder))


@entry(binary)
def summed_out_given_a_latent():
    gate, decoder, encoder = nn.Linear(2, 3), nn.Linear(2, 3 * D), nn.Linear(D, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            c = pyro.sample("c", dist.Categorical(logits=gate(z)), infer=PARALLEL)
            logits = decoder(z).unflatten(-1, (3, D))
            pyro.sample("x", dist.Bernoulli(logits=(F.one_hot(c, 3)[..., None] * logits).sum(-2)).to_event(1), obs=x)

    return Pair(model, normal_guide(encoder))


@entry(binary)
def bernoulli_latents_drawn():
    decoder, encoder = nn.Linear(2, D), nn.Linear(D, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((2,), 0.3)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=encoder(x)).to_event(1))

    return Pair(model, guide)


@entry(real)
def categorical_drawn_before_a_normal():
    table, encoder, locs = nn.Embedding(3, 2), nn.Linear(D, 3), nn.Linear(D + 2, 2)
    decoder = nn.Linear(2, D)

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])))
            z = pyro.sample("z", dist.Normal(table(c), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(logits=encoder(x)))
            pyro.sample("z", dist.Normal(locs(torch.cat([x, table(c)], -1)), 0.7).to_event(1))

    return Pair(model, guide)


@entry(real)
def one_hot_straight_through():
    decoder, encoder = nn.Linear(3, D), nn.Linear(D, 3)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.OneHotCategorical(torch.ones(3) / 3))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.OneHotCategoricalStraightThrough(logits=encoder(x)))

    return Pair(model, guide)


@entry(scalars)
def certain_of_a_discrete_latent():
    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])))
            pyro.sample("x", dist.Normal(c.float() - 1, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Delta((x > 0).long() + (x > 1).long()))

    return Pair(model, guide)


@entry(lambda: (torch.arange(40.0) % 6,))
def support_that_depends_on_a_latent():
    def model(x):
        with pyro.plate("data", len(x)):
            n = pyro.sample("n", dist.Poisson(torch.tensor(6.0)))
            pyro.sample("x", dist.Binomial(n, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("n", dist.Poisson(torch.tensor(6.0)).expand(x.shape))

    return Pair(model, guide)


def chain(steps):
    transition, encoder = nn.Linear(1, 1), nn.Linear(T, T)

    def model(x):
        with pyro.plate("data", len(x)):
            z = x.new_zeros(len(x))
            for t in steps():
                z = pyro.sample(f"z{t}", dist.Normal(transition(z[..., None])[..., 0], 1.0))
                pyro.sample(f"x{t}", dist.Normal(z, 1.0), obs=x[:, t])

    def guide(x):
        loc = encoder(x) / 2
        with pyro.plate("data", len(x)):
            for t in steps():
                pyro.sample(f"z{t}", dist.Normal(loc[:, t], 0.8))

    return Pair(model, guide)


@entry(sequences)
def chain_in_time():
    return chain(lambda: range(T))


@entry(sequences)
def markov_chain_in_time():
    return chain(lambda: pyro.markov(range(T)))


@entry(sequences)
def hidden_states_summed_out():
    transition, means = torch.tensor([[0.8, 0.2], [0.3, 0.7]]), torch.tensor([-1.0, 1.5])

    def model(x):
        with pyro.plate("data", len(x)):
            h = torch.zeros(len(x), dtype=torch.long)
            for t in range(T):
                h = pyro.sample(f"h{t}", dist.Categorical(transition[h]), infer=PARALLEL)
                pyro.sample(f"x{t}", dist.Normal(means[h], 0.8), obs=x[:, t])

    return Pair(model, nothing)


@entry(sequences)
def recurrent_network():
    cell, emit, encoder = nn.GRUCell(1, 3), nn.Linear(3, 1), nn.GRU(1, 4, batch_first=True)

    def model(x):
        h = x.new_zeros(len(x), 3)
        with pyro.plate("data", len(x)):
            for t in range(T):
                z = pyro.sample(f"z{t}", dist.Normal(h[:, :1], 1.0).to_event(1))
                h = cell(z, h)
                pyro.sample(f"x{t}", dist.Normal(emit(h)[:, 0], 1.0), obs=x[:, t])

    def guide(x):
        out, _ = encoder(x[..., None])
        with pyro.plate("data", len(x)):
            for t in range(T):
                pyro.sample(f"z{t}", dist.Normal(out[:, t, :1], 0.8).to_event(1))

    return Pair(model, guide)
