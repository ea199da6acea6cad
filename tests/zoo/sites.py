"""Shapes of sites, plates, masks, several observed sites, slices: what must not be broadcast by accident."""

import pyro
from pyro import poutine
import pyro.distributions as dist
import torch
from torch import nn
import torch.nn.functional as F

from pyro_lvm import Pair, penalty
from zoo.registry import D, N, entry, labelled, masked, one_hot, real, scalars, two_modalities


def normal_guide(encoder, shape=(2,), plate=lambda x: pyro.plate("data", len(x)), scale=0.7):
    def guide(x, *others):
        with plate(x):
            pyro.sample("z", dist.Normal(encoder(x).reshape(-1, *shape), scale).to_event(len(shape)))

    return guide


def standard(*shape):
    return dist.Normal(torch.zeros(shape), 1.0).to_event(len(shape))


def linear_pair(read, *, shape=(2,), features=2, plate=lambda x: pyro.plate("data", len(x))):
    """A pair whose decoder reads its latent in a given way."""
    decoder, encoder = nn.Linear(features, D), nn.Linear(D, max(1, torch.Size(shape).numel()))

    def model(x):
        with plate(x):
            z = pyro.sample("z", standard(*shape))
            pyro.sample("x", dist.Normal(decoder(read(z)), 1.0).to_event(1), obs=x)

    return Pair(model, normal_guide(encoder, shape, plate))


@entry(scalars)
def parameter_of_no_module():
    a = nn.Parameter(torch.tensor(1.3))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(a * z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.7))

    return Pair(model, guide)


@entry(real)
def squeezed():
    decoder, encoder = nn.Linear(1, 1), nn.Linear(D, 1)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(1))
            for i in range(2):
                pyro.sample(f"x{i}", dist.Normal((i + 1) * decoder(z).squeeze(), 1.0), obs=x[:, i])

    return Pair(model, normal_guide(encoder, (1,)))


@entry(real)
def viewed():
    return linear_pair(lambda z: z.view(-1, 4), shape=(2, 2), features=4)


@entry(real)
def sliced_from_the_left():
    return linear_pair(lambda z: torch.cat([z[:, :1] * z[:, 1:], z[:, 1:]], -1))


@entry(real)
def normalized_along_dim_1():
    return linear_pair(lambda z: F.normalize(z, dim=1) + z.softmax(1))


@entry(real)
def flattened():
    return linear_pair(lambda z: z.flatten(1), shape=(2, 2), features=4)


@entry(real)
def plate_without_a_size():
    return linear_pair(lambda z: z, plate=lambda x: pyro.plate("data"))


@entry(real)
def plate_that_subsamples():
    return linear_pair(lambda z: z[:, :2], plate=lambda x: pyro.plate("data", N, subsample_size=len(x)))


@entry(real)
def plate_that_subsamples_more_data():
    return linear_pair(lambda z: z, plate=lambda x: pyro.plate("data", 10 * N, subsample_size=len(x)))


@entry(real)
def deterministic_value_in_the_plate():
    decoder, encoder = nn.Linear(2, D), nn.Linear(D, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            loc = pyro.deterministic("loc", decoder(z))
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    return Pair(model, normal_guide(encoder))


@entry(real)
def penalized():
    decoder, encoder = nn.Linear(2, D), nn.Linear(D, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            penalty("size", z.square().sum(-1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    return Pair(model, normal_guide(encoder))


@entry(real)
def factor_in_the_guide():
    decoder, encoder = nn.Linear(2, D), nn.Linear(D, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 0.7).to_event(1))
            pyro.factor("steering", 3 * torch.ones(len(x)), has_rsample=False)

    return Pair(model, guide)


@entry(two_modalities)
def two_observed_sites():
    image, text, encoder = nn.Linear(2, D), nn.Linear(2, 2), nn.Linear(D, 2)

    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            pyro.sample("x", dist.Normal(image(z), 1.0).to_event(1), obs=x)
            pyro.sample("y", dist.Poisson(text(z).exp()).to_event(1), obs=y)

    return Pair(model, normal_guide(encoder))


@entry(labelled)
def conditional():
    """p(x | y): the labels select an embedding in model and guide."""
    table, decoder, encoder = nn.Embedding(3, 2), nn.Linear(4, D), nn.Linear(D + 2, 2)

    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            label = table(y).expand(*z.shape[:-1], 2)
            pyro.sample("x", dist.Normal(decoder(torch.cat([z, label], -1)), 1.0).to_event(1), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(torch.cat([x, table(y)], -1)), 0.7).to_event(1))

    return Pair(model, guide)


@entry(one_hot)
def observed_label_of_one_hot():
    decoder, encoder = nn.Linear(5, D), nn.Linear(D + 3, 2)

    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            pyro.sample("y", dist.OneHotCategorical(torch.tensor([0.2, 0.3, 0.5])), obs=y)
            pyro.sample("x", dist.Normal(decoder(torch.cat([z, y], 1)), 1.0).to_event(1), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(torch.cat([x, y], 1)), 0.7).to_event(1))

    return Pair(model, guide)


@entry(masked)
def masked_by_a_handler():
    decoder, encoder = nn.Linear(2, D), nn.Linear(D, 2)

    def model(x, seen):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            with poutine.mask(mask=seen):
                pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    return Pair(model, normal_guide(encoder))


@entry(masked)
def masked_distribution():
    decoder, encoder = nn.Linear(2, D), nn.Linear(D, 2)

    def model(x, seen):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1).mask(seen), obs=x)

    return Pair(model, normal_guide(encoder))


@entry(lambda: real() + (torch.rand(N, D, generator=torch.Generator().manual_seed(5)) < 0.6,))
def pixels_masked():
    decoder, encoder = nn.Linear(2, D), nn.Linear(D, 2)

    def model(x, seen):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).mask(seen).to_event(1), obs=x)

    def guide(x, seen):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(torch.where(seen, x, 0.0)), 0.7).to_event(1))

    return Pair(model, guide)


@entry(masked)
def observed_under_a_mask():
    """``obs_mask``: where the datum is not seen, it is a latent, which the guide draws from the prior of x."""
    decoder, encoder = nn.Linear(2, D), nn.Linear(D, 2)

    def model(x, seen):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x, obs_mask=seen)

    def guide(x, seen):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 0.7).to_event(1))
            with poutine.mask(mask=~seen):
                pyro.sample("x_unobserved", dist.Normal(torch.zeros(D), 1.5).to_event(1))

    return Pair(model, guide)


@entry(real)
def scaled():
    """Scales weigh terms of an objective; they are no part of a likelihood."""
    decoder, encoder = nn.Linear(2, D), nn.Linear(D, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=0.1):
                z = pyro.sample("z", standard(2))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    guide = normal_guide(encoder)

    def scaled_guide(x):
        with poutine.scale(scale=0.1):
            guide(x)

    return Pair(model, scaled_guide)


@entry(real, double=False)
def covariance_of_a_datum():
    decoder, encoder, start = nn.Linear(2, D), nn.Linear(D, 2), torch.randn(D, 2)

    def model(x):
        factor = pyro.param("factor", start)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard(2))
            pyro.sample("x", dist.LowRankMultivariateNormal(decoder(z), factor, torch.ones(D)), obs=x)

    return Pair(model, normal_guide(encoder))


@entry(real)
def two_latents_of_other_shapes():
    decoder, encoder, scale = nn.Linear(4, D), nn.Linear(D, 4), nn.Linear(D, 1)

    def model(x):
        with pyro.plate("data", len(x)):
            s = pyro.sample("s", dist.LogNormal(0.0, 0.5))
            z = pyro.sample("z", dist.Normal(torch.zeros(2, 2), s[..., None, None]).to_event(2))
            pyro.sample("x", dist.Normal(decoder(z.flatten(-2)), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            s = pyro.sample("s", dist.LogNormal(0.3 * scale(x)[:, 0], 0.4))
            pyro.sample("z", dist.Normal(encoder(x).view(-1, 2, 2) * s.view(-1, 1, 1), 0.7).to_event(2))

    return Pair(model, guide)
