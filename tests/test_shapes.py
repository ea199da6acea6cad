"""Shapes at every site: one log density for each datum, values of their distribution's event shape, and the plates of the data."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from inference import evaluate, fit, log_weights
import pyro_lvm as lvm
from pyro_lvm import Pair, check_pair

QUIET = {"progress": False}
NUM_DATA = 6


def normal_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(())).expand(len(x)), 1.0))


def scalar_pair(observe, guide=normal_guide):
    """A pair with a latent number for each datum."""

    def model(x):
        with pyro.plate("data", len(x)):
            observe(pyro.sample("z", dist.Normal(0.0, 1.0)), x)

    return Pair(model, guide)


def column_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(())) * x, 1.0))


def vae(output=4, data=4):
    likelihood = lvm.BernoulliLikelihood(lvm.MLP(2, [3], output))
    return lvm.VAE(lvm.StandardNormal(2), likelihood, lvm.NormalEncoder(lvm.MLP(data, [3], 4)))


ACCIDENTS = {
    "a column of data for a number": (
        scalar_pair(lambda z, x: pyro.sample("x", dist.Normal(z, 1.0), obs=x)),
        torch.zeros(NUM_DATA, 1),
        r"site 'x': the log density must have shape \(6,\), that of its plates; got \(6, 6\)",
    ),
    "one mean for several features": (
        scalar_pair(lambda z, x: pyro.sample("x", dist.Normal(z[..., None], 1.0).to_event(1), obs=x)),
        torch.zeros(NUM_DATA, 4),
        r"site 'x': a value must have the event shape of its distribution; got values of shape \(6, 4\)",
    ),
    "as many features as data": (
        scalar_pair(lambda z, x: pyro.sample("x", dist.Normal(z, 1.0), obs=x)),
        torch.zeros(NUM_DATA, NUM_DATA),
        r"site 'x': the log density must have shape \(6,\).*got \(6, 6\).*\.to_event\(n\)",
    ),
    "a column in the guide": (
        scalar_pair(lambda z, x: pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0]), column_guide),
        torch.ones(NUM_DATA, 1),
        r"site 'z': the log density must have shape \(6,\).*got \(6, 6\)",
    ),
    "one dimension too many": (vae(), torch.zeros(NUM_DATA, 1, 4), r"input of shape \(4,\)|site 'x'|site 'z'"),
    "three channels for one": (vae((3, 2, 2), (1, 2, 2)), torch.zeros(NUM_DATA, 1, 2, 2), r"site 'x': a value must have the event shape"),
}


@pytest.mark.parametrize("name", ACCIDENTS)
def test_what_would_broadcast_by_accident_is_refused_by_site(name):
    pair, x, message = ACCIDENTS[name]
    for use in (check_pair, lambda pair, x: fit(pair, x, epochs=1, **QUIET), lambda pair, x: evaluate(pair, x, num_particles=3, **QUIET)):
        with pytest.raises(ValueError, match=message):
            use(pair, x)


@pytest.mark.parametrize("shape", [(), (1,), (NUM_DATA,), (2, NUM_DATA), (1, 1)])
def test_events_of_any_shape_are_summed(shape, double):
    """Also those whose sizes are one, or that of the batch."""
    x = torch.randn(NUM_DATA, *shape)
    count = shape.numel() if isinstance(shape, torch.Size) else torch.Size(shape).numel()

    def observe(z, x):
        loc = z[(..., *[None] * len(shape))].expand(*z.shape, *shape)
        pyro.sample("x", dist.Normal(loc, 1.0).to_event(len(shape)), obs=x)

    def guide(x):
        total = x.reshape(len(x), -1).sum(1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(total / (1 + count), (1 + count) ** -0.5))

    covariance = torch.eye(count) + 1
    expected = dist.MultivariateNormal(torch.zeros(count), covariance).log_prob(x.reshape(NUM_DATA, -1))
    log_w = log_weights(scalar_pair(observe, guide), x, num_particles=NUM_DATA)
    torch.testing.assert_close(log_w, expected.expand(NUM_DATA, NUM_DATA), rtol=0, atol=1e-10)


@pytest.mark.parametrize("num_data", [1, 30])
def test_plates_need_no_size(num_data, double):
    slope, x = nn.Linear(1, 1, bias=False), torch.randn(num_data)

    def model(x):
        pyro.module("slope", slope)
        with pyro.plate("data"):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(slope(z[..., None])[..., 0], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data"):
            w = slope.weight[0, 0].detach()
            pyro.sample("z", dist.Normal(w * x / (1 + w**2), (1 + w**2) ** -0.5))

    pair = Pair(model, guide)
    expected = dist.Normal(0.0, (1 + slope.weight[0, 0].detach() ** 2) ** 0.5).log_prob(x)
    torch.testing.assert_close(log_weights(pair, x, num_particles=4), expected.expand(4, num_data), rtol=0, atol=1e-10)
    torch.testing.assert_close(evaluate(pair, x, **QUIET).log_px, expected, rtol=0, atol=1e-10)
    before = slope.weight.detach().clone()
    fit(pair, x, epochs=2, learning_rate=0.1, **QUIET)
    assert not torch.equal(slope.weight, before)


def components(x):
    with pyro.plate("components", 3):
        loc = pyro.sample("loc", dist.Normal(torch.arange(3.0), 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc.sum(-1), 1.0), obs=x)


def guide_of_components(x):
    with pyro.plate("components", 3):
        pyro.sample("loc", dist.Normal(torch.zeros(3), 1.0))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_plate_of_as_many_components_as_data_is_no_plate_of_data(size):
    pair = Pair(components, guide_of_components)
    structure = check_pair(pair, torch.zeros(size))
    assert structure.global_sites == ("loc",) and "site 'loc' lies outside the data plate" in structure.refusal


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_guide_may_give_the_plate_of_data_another_name(size, double):
    def model(x):
        with pyro.plate("rows", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    x = torch.arange(1.0 * size)
    expected = dist.Normal(0.0, 2**0.5).log_prob(x)
    torch.testing.assert_close(evaluate(Pair(model, guide), x, **QUIET).log_px, expected, rtol=0, atol=1e-10)


def chosen_rows(x):
    with pyro.plate("data", len(x), subsample_size=2) as rows:
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x[rows, 0])


def one_after_the_other(x):
    for i in pyro.plate("data", len(x)):
        pyro.sample(f"x{i}", dist.Normal(0.0, 1.0), obs=x[i, 0])


def second_plate(x):
    with pyro.plate("features", x.shape[1], dim=-2), pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(0.0, 1.0).expand([x.shape[1], len(x)]), obs=x.T)


def second_dimension(x):
    with pyro.plate("data", len(x), dim=-2), pyro.plate("features", x.shape[1], dim=-1):
        pyro.sample("x", dist.Normal(0.0, 1.0).expand(x.shape), obs=x)


def no_plate(x):
    pyro.sample("x", dist.Normal(0.0, 1.0).expand(x.shape).to_event(2), obs=x)


SENTENCES = {
    chosen_rows: r"site 'x' is inside the plate 'data', which chooses 2 of the 6 rows by itself.*fit\(batch_size=2\)",
    one_after_the_other: r"site 'x0' is inside the sequential plate 'data'.*instead of a loop over data",
    second_plate: r"site 'x' is inside a second plate 'features'.*event dimension",
    second_dimension: r"site 'x' is inside a plate 'data' of size 6 at dim -2.*Give the data plate dim=-1",
    no_plate: r"site 'x' lies outside the data plate.*Move it into",
}


@pytest.mark.parametrize("model", SENTENCES, ids=lambda model: model.__name__)
def test_plates_that_give_no_likelihood_of_a_datum_are_told_apart(model):
    x = torch.zeros(NUM_DATA, 4)
    for score in (lambda pair: evaluate(pair, x, **QUIET), lambda pair: log_weights(pair, x, num_particles=2)):
        with pytest.raises(ValueError, match=SENTENCES[model]):
            score(Pair(model, lambda x: None))
