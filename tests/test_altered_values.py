"""Programs that change values in place, observe what they compute, keep state between runs, or observe in the guide."""

import pyro
from pyro import poutine
import pyro.distributions as dist
from pyro.infer.autoguide import AutoNormalMessenger
from pyro.infer.reparam import LocScaleReparam
import pytest
import torch
from torch import nn

from inference import evaluate, fit, reconstruct, sample_prior
from pyro_lvm import Pair, check_pair

X = torch.randn(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def normal_model(x):
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0)), 1.0), obs=x)


def posterior(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))


def log_px(x):
    return float(dist.Normal(0.0, 2**0.5).log_prob(x).mean())


def test_a_guide_that_changes_its_argument_is_refused_before_the_data_change():
    def guide(x):
        x /= 2
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 0.5**0.5))

    x = X.clone()
    for run in (lambda pair: evaluate(pair, x, progress=False), lambda pair: fit(pair, x, epochs=1, progress=False)):
        with pytest.raises(ValueError, match=r"in place; they change argument 0.*x = x / 255"):
            run(Pair(normal_model, guide))
    assert torch.equal(x, X)


def test_a_network_that_changes_a_latent_in_place_is_refused():
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(1, 1)).double()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(network(z)[..., 0], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, None], 1.0).to_event(1))

    with pytest.raises(ValueError, match=r"value of site 'z'.*inplace=True"):
        check_pair(Pair(model, guide), X)


def test_a_site_that_a_reparameterization_computes_is_no_data():
    reparameterized = poutine.reparam(normal_model, {"z": LocScaleReparam(0.0)})

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z_decentered", dist.Normal(x / 2, 0.5**0.5))

    pair = Pair(reparameterized, guide)
    score = evaluate(pair, X, num_particles=2, progress=False)
    assert check_pair(pair, X).observed == ("x",)
    assert score.mean == pytest.approx(log_px(X)) and score.data_id == evaluate(Pair(normal_model, posterior), X, progress=False).data_id
    assert sample_prior(pair, X).shape == reconstruct(pair, X).shape == X.shape


def test_draws_of_a_residual_are_warned_of():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("residual", dist.Normal(0 * z, 1.0), obs=x - z)

    pair = Pair(model, posterior)
    assert evaluate(pair, X, num_particles=2, progress=False).mean == pytest.approx(log_px(X))  # the Jacobian is one
    for draws in (sample_prior, reconstruct):
        with pytest.warns(UserWarning, match="'residual' observes a value that the model computes from data and latents"):
            draws(pair, X)


def scaled(x, values):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        pyro.sample("x", dist.Normal(0 * z, 1.0), obs=values(x, z))


def test_standardized_data_have_no_likelihood():
    with pytest.raises(ValueError, match=r"site 'x' observes.*Jacobian.*obs=x"):
        evaluate(Pair(lambda x: scaled(x, lambda x, z: x / z.exp()), posterior), X, progress=False)


def test_missing_elements_that_are_latents_have_a_likelihood():
    x = X.clone()
    x[::3] = torch.nan
    pair = Pair(lambda x: scaled(x, lambda x, z: torch.where(x.isnan(), z, x)), lambda x: posterior(x.nan_to_num()))
    structure = check_pair(pair, x)
    assert structure.refusal is None and structure.shifted == () and structure.computed == ()


def test_an_improper_prior_has_no_likelihood():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.ImproperUniform(dist.constraints.real, (), ()))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ValueError, match="site 'z' has an improper prior"):
        evaluate(Pair(model, posterior), X, progress=False)


class Features:
    """A pair whose model reads what its guide has left."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)) + self.features, 1.0), obs=x)

    def guide(self, x):
        self.features = x / 2
        posterior(x)


class Counter:
    """A pair whose model is another one in every run."""

    runs = 0

    def model(self, x):
        self.runs += 1
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0 + self.runs), obs=x)

    def guide(self, x):
        posterior(x)


def test_models_with_state_are_refused():
    with pytest.raises(ValueError, match="uses what the guide has left in its last run"):
        evaluate(Features(), X, num_particles=2, progress=False)
    with pytest.raises(ValueError, match="the model must have the same density whenever it runs.*counter"):
        evaluate(Counter(), X, num_particles=2, progress=False)


@pytest.mark.parametrize("changes", [False, True])
def test_guides_that_depend_on_other_rows_or_runs_are_warned_of(changes):
    normalize = nn.BatchNorm1d(1, affine=False, track_running_stats=False, dtype=torch.float64)
    shifts = []

    def guide(x):
        shifts.append(x.new_tensor(len(shifts) / 10))
        loc = x / 2 + shifts[-1] if changes else normalize(x[:, None])[:, 0]
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0))

    with pytest.warns(UserWarning, match="what has run before: the guide should" if changes else "depends on the other rows of the batch"):
        evaluate(Pair(normal_model, guide), X, num_particles=2, progress=False)


def test_what_a_guide_observes_is_none_of_its_draws():
    def observing(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=x)

    class Exact(AutoNormalMessenger):
        def get_posterior(self, name, prior):
            return dist.Normal(self.args_kwargs[0][0] / 2, 0.5**0.5)

    assert evaluate(Pair(normal_model, Exact(normal_model)), X, num_particles=2, progress=False).mean == pytest.approx(log_px(X))
    with pytest.raises(ValueError, match="the guide must not observe data; it does so at 'y'"):
        check_pair(Pair(normal_model, observing), X)


def test_guide_messengers_take_their_sizes_from_all_rows():
    x = X.repeat(4)
    pair = Pair(normal_model, AutoNormalMessenger(normal_model))
    fit(pair, x, epochs=1, progress=False)
    assert check_pair(pair, x).row_parameters[:1] == ("locs.z",)


def test_a_rare_row_that_changes_the_densities_of_others_is_found():
    x = torch.cat([X, X, X.new_tensor([50.0])])

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0 if x.max() < 40 else 10.0), obs=x)

    with pytest.raises(ValueError, match="density of a datum must not depend on other rows"):
        evaluate(Pair(model, posterior), x, num_particles=2, progress=False)


def test_a_distribution_whose_shapes_are_tuples():
    def model(x):
        one, shift = dist.Normal(x.new_zeros(1), 1.0).to_event(1), torch.eye(1, dtype=x.dtype)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            noise = dist.Normal(z[..., None, None].expand(*z.shape, 2, 1), 1.0).to_event(1)
            pyro.sample("x", dist.GaussianHMM(one, shift, one, shift, noise, duration=2), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.mean((1, 2)) / 4, 0.9))

    x = X.reshape(15, 2, 1)
    covariance = torch.tensor([[4.0, 3.0], [3.0, 5.0]], dtype=torch.float64)  # of z, two steps of a random walk, and noise
    expected = dist.MultivariateNormal(covariance.new_zeros(2), covariance).log_prob(x[..., 0])
    torch.testing.assert_close(evaluate(Pair(model, guide), x, num_particles=2000, progress=False).log_px, expected, atol=0.05, rtol=0)


def test_data_that_a_model_draws_anew_have_no_likelihood():
    with pytest.raises(ValueError, match=r"draws anew in every run.*transform="):
        evaluate(Pair(lambda x: scaled(x, lambda x, z: x + torch.rand_like(x)), posterior), X, progress=False)


def test_programs_must_not_seed_the_generator():
    def guide(x):
        pyro.set_rng_seed(0)
        posterior(x)

    torch.manual_seed(0)
    with pytest.raises(ValueError, match="must not seed torch's generator"):
        fit(Pair(normal_model, guide), X, epochs=1, seed=0, progress=False)
