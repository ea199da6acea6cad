"""Data outside a support: refused, or of density zero where the support depends on latents; and data that are not finite."""

from math import inf, log, nan

import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import evaluate, fit, log_weights
from pyro_lvm import Pair, check_pair

QUIET = {"progress": False}


def no_latents(x):
    pass


def thinned(x):
    """n ~ Poisson(6), x ~ Binomial(n, 1/2): x ~ Poisson(3)."""
    with pyro.plate("data", len(x)):
        n = pyro.sample("n", dist.Poisson(6.0))
        pyro.sample("x", dist.Binomial(n, 0.5), obs=x)


def guide_of_thinned(x):
    with pyro.plate("data", len(x)):
        pyro.sample("n", dist.Poisson(6.0).expand([len(x)]))


def below(x):
    """z ~ Uniform(0, 2), x ~ Uniform(0, z): p(x) = log(2 / x) / 2."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Uniform(0.0, 2.0))
        pyro.sample("x", dist.Uniform(0.0, z), obs=x)


def guide_of_below(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Uniform(torch.zeros(len(x)), 2.0))


def above(x):
    """z ~ Uniform(0, 2), x ~ Pareto(z, 2), whose density torch gives below z as well: p(x) = 1/3 for x below 2."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Uniform(0.0, 2.0))
        pyro.sample("x", dist.Pareto(z, 2.0), obs=x)


MOVING = {
    "binomial": (thinned, guide_of_thinned, torch.tensor([1.0, 3.0, 0.0, 5.0]), dist.Poisson(3.0).log_prob),
    "uniform": (below, guide_of_below, torch.tensor([0.2, 1.0, 1.9]), lambda x: ((2 / x).log() / 2).log()),
    "pareto": (above, guide_of_below, torch.tensor([0.2, 1.0, 1.9]), lambda x: torch.full_like(x, -log(3))),
}


@pytest.mark.parametrize("state", [0, 1, 2])
@pytest.mark.parametrize("name", MOVING)
def test_a_support_that_depends_on_a_latent_gives_zero_weights(name, state):
    """Whatever a first draw looks like: the caller's random state decides neither over a refusal nor over the figure."""
    model, guide, x, exact = MOVING[name]
    torch.manual_seed(state)
    pair = Pair(model, guide)
    score = evaluate(pair, x, num_particles=20_000, **QUIET)
    assert ((score.log_px - exact(x)).abs() < 5 * score.mc_error).all() and score.mc_error.max() < 0.1
    log_w = log_weights(pair, x, num_particles=500, seed=0)
    assert (log_w == -inf).any() and not log_w.isnan().any()


FIXED = {
    "bernoulli": (lambda: dist.Bernoulli(0.5, validate_args=False), torch.tensor([0.0, 3.0])),
    "uniform": (lambda: dist.Uniform(0.0, 2.0, validate_args=False), torch.tensor([0.5, 2.5])),
    "binomial": (lambda: dist.Binomial(torch.tensor(3.0), 0.5, validate_args=False), torch.tensor([1.0, 4.0])),
    "gamma": (lambda: dist.Gamma(1.0, 1.0, validate_args=False), torch.tensor([1.0, -1.0])),
}


@pytest.mark.parametrize("name", FIXED)
def test_data_outside_a_fixed_support_are_refused(name):
    fn, x = FIXED[name]

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", fn(), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.0)).expand(len(x)), 1.0))

    for use in (lambda pair: evaluate(pair, x, **QUIET), lambda pair: fit(pair, x, epochs=1, **QUIET)):
        with pytest.raises(ValueError, match=f"site 'x': data must lie in the support.*got values from .*{x[1]:g}"):
            use(Pair(model, guide))


def by_handler(x, seen):
    with pyro.plate("data", len(x)), pyro.poutine.mask(mask=seen):
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)


def by_method(x, seen):
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(torch.zeros(len(x)), 1.0).mask(seen), obs=x)


def by_element(x, seen):
    """Two copies of the data in one event."""
    with pyro.plate("data", len(x)):
        loc = torch.zeros(len(x), 2)
        pyro.sample("x", dist.Normal(loc, 2**0.5).mask(seen[:, None]).to_event(1), obs=torch.stack([x, x], 1))


MASKS = {by_handler: lambda x: dist.Normal(0.0, 1.0).log_prob(x), by_method: lambda x: dist.Normal(0.0, 1.0).log_prob(x)}
MASKS[by_element] = lambda x: 2 * dist.Normal(0.0, 2**0.5).log_prob(x)


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("model", MASKS, ids=lambda model: model.__name__)
def test_what_is_not_finite_is_allowed_where_it_is_masked_and_only_there(model, value, double):
    x, seen = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([True, False, True])
    expected, pair = torch.where(seen, MASKS[model](x), 0.0), Pair(model, lambda x, seen: None)
    x[1] = value
    for log_px in (evaluate(pair, (x, seen), **QUIET).log_px, log_weights(pair, x, seen, num_particles=2)[1]):
        torch.testing.assert_close(log_px, expected, rtol=0, atol=1e-10)
    for hidden in (torch.tensor([True, True, True]), torch.tensor([False, True, False])):
        for use in (lambda *batch: check_pair(pair, *batch), lambda *batch: evaluate(pair, batch, **QUIET)):
            with pytest.raises(ValueError, match="argument 0 of the batch must be finite where the pair does not mask it; 1 of 3 rows"):
                use(x, hidden)


@pytest.mark.parametrize("value", [nan, inf])
def test_what_is_not_finite_is_refused_where_a_network_reads_it(value):
    def guide(x, seen):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    def model(x, seen):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.poutine.mask(mask=seen):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ValueError, match=r"NaN|nan|finite"):
        evaluate(Pair(model, guide), (torch.tensor([0.0, value]), torch.tensor([True, False])), **QUIET)


def test_data_outside_a_support_may_be_masked(double):
    x, seen = torch.tensor([1.0, -1.0, 0.0]), torch.tensor([True, False, True])

    def model(x, seen):
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=seen):
            pyro.sample("x", dist.Bernoulli(0.25), obs=x)

    log_px = evaluate(Pair(model, lambda x, seen: None), (x, seen), **QUIET).log_px
    torch.testing.assert_close(log_px, torch.tensor([log(0.25), 0.0, log(0.75)]), rtol=0, atol=1e-7)
    with pytest.raises(ValueError, match="site 'x': data must lie in the support"):
        evaluate(Pair(model, lambda x, seen: None), (x, ~seen), **QUIET)
