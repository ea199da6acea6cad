"""Latents as one unconstrained vector: densities change by the Jacobian, and what has no such coordinates is refused."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from inference.densities.broadcasting import choose_layout
from inference.densities.log_density import guide_draws, model_density
from inference.densities.scope import check_scorable, scoring
from inference.densities.unconstrained import ConstrainedError, coordinates
import pyro_lvm as lvm
from pyro_lvm.distributions.sphere import PowerSpherical

X = torch.linspace(0.1, 2.0, 6, dtype=torch.float64)[:, None]


def pair_of(prior, posterior=None, *, names=("z",)):
    """Priors and guides by name, all latents observed together through the sum of their elements."""

    def model(x):
        with pyro.plate("data", len(x)):
            values = [pyro.sample(name, prior(x)) for name in names]
            total = sum(value.reshape(len(x), -1).sum(1) if value.dim() == 2 else value for value in values)
            pyro.sample("x", dist.Normal(total[:, None], 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            for name in names:
                pyro.sample(name, (posterior or prior)(x))

    return lvm.Pair(model, guide)


def found(pair, x=X):
    with scoring(pair, x.device):
        return coordinates(pair, (x,), check_scorable(pair, (x,)))


PRIORS = {
    "normal": lambda x: dist.Normal(x.new_zeros(len(x), 3), 1.0).to_event(1),
    "gamma": lambda x: dist.Gamma(x.new_full((len(x), 2), 2.0), 1.5).to_event(1),
    "beta": lambda x: dist.Beta(x.new_full((len(x), 2), 2.0), 3.0).to_event(1),
    "uniform": lambda x: dist.Uniform(x.new_full((len(x),), -1.0), 2.0),
    "dirichlet": lambda x: dist.Dirichlet(x.new_ones(len(x), 4)),
    "log-normal": lambda x: dist.LogNormal(x.new_zeros(len(x)), 0.5),
}


@pytest.mark.parametrize("name", PRIORS)
def test_the_density_of_the_vector_integrates_like_that_of_the_latents(name):
    """E_q[p(x, z) / q(z)] is the same in both coordinates: importance weights with the guide as proposal do not change."""
    pair = pair_of(PRIORS[name])
    space = found(pair)
    with scoring(pair, X.device):
        layout = choose_layout(pair, (X,))
        _, latents = guide_draws(pair.guide, (X,), 5, layout)
        vector = space.vector(latents)
        again, log_jacobian = space.latents(vector)
        torch.testing.assert_close(again, latents)
        assert vector.shape == (5, len(X), space.dim)
        expected = model_density(pair.model, (X,), latents, 5, layout)
        torch.testing.assert_close(model_density(pair.model, (X,), again, 5, layout), expected)
        size = {"dirichlet": 3}.get(name, latents["z"][0, 0].numel())
        assert space.dim == size
        numeric = torch.stack([torch.stack([jacobian(space, vector[k, b]) for b in range(len(X))]) for k in range(5)])
        torch.testing.assert_close(log_jacobian, numeric)


def jacobian(space, vector):
    """log |det dT/dv| by differentiation, over the first elements that determine the latents."""

    def value(v):
        (z,) = space.latents(v[None, None])[0].values()
        return z.reshape(-1)[: space.dim]

    return torch.linalg.slogdet(torch.autograd.functional.jacobian(value, vector)).logabsdet


def test_several_latents_are_one_vector():
    pair = pair_of(PRIORS["gamma"], names=("a", "b"))
    assert found(pair).dim == 4


CIRCLE = dist.VonMises(torch.tensor(0.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64))
REFUSED = {
    "is periodic": lambda x: CIRCLE.expand([len(x)]),
    "is discrete and drawn": lambda x: dist.Bernoulli(x.new_full((len(x),), 0.5)),
    "depends on the datum or on other": lambda x: dist.Uniform(x.new_zeros(len(x)), x[:, 0]),
    "no unconstrained coordinates": lambda x: PowerSpherical(
        torch.nn.functional.normalize(x.new_ones(len(x), 3), dim=1), x.new_ones(len(x))
    ),
    "is masked": lambda x: dist.Normal(x.new_zeros(len(x)), 1.0).mask(x[:, 0] > 1),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_latents_without_such_coordinates_are_refused(reason):
    with pytest.raises(ConstrainedError, match=reason):
        found(pair_of(REFUSED[reason]))


def test_a_support_that_depends_on_another_latent_is_refused():
    def program(x, obs=None):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Gamma(x.new_full((len(x),), 2.0), 1.0))
            b = pyro.sample("b", dist.Uniform(x.new_zeros(len(x)), a))
            if obs is not None:
                pyro.sample("x", dist.Normal((a + b)[:, None], 1.0).to_event(1), obs=obs)

    with pytest.raises(ConstrainedError, match="'b' depends on the datum or on other latents"):
        found(lvm.Pair(lambda x: program(x, x), program))


def test_a_density_that_does_not_depend_on_a_coordinate_is_not_periodic():
    """A normal density with a huge scale looks the same one turn further on."""
    assert found(pair_of(lambda x: dist.Normal(x.new_zeros(len(x)), 1e6 * math.tau))).dim == 1
