"""Parameters that belong to the rows of the data, and parameters that only look as if they did."""

from copy import deepcopy
from functools import partial

import pyro
from pyro.contrib.easyguide import EasyGuide
import pyro.distributions as dist
from pyro.infer import TraceEnum_ELBO
from pyro.infer.autoguide import AutoNormal
import pytest
import torch
from torch import nn

from inference import encode, evaluate, fit, load_checkpoint, log_weights, save_checkpoint
from pyro_lvm import Pair, WithPrior, check_pair

ENUM = TraceEnum_ELBO(max_plate_nesting=1)


def mixture(x):
    locs = pyro.param("locs", torch.arange(8.0))
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(torch.ones(8)), infer={"enumerate": "parallel"})
        pyro.sample("x", dist.Normal(locs[c], 1.0), obs=x)


def no_latents(x):
    pass


@pytest.mark.parametrize("size", [2, 4, 8])
def test_components_summed_out_are_no_rows(size):
    pair = Pair(mixture, no_latents)
    assert check_pair(pair, torch.randn(size)).row_parameters == ()
    result = fit(pair, torch.randn(16), batch_size=size, epochs=1, elbo=ENUM, progress=False)
    assert len(result.history) == 1


def shared(x):
    with pyro.plate("topics", 3):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc.sum(), 1.0), obs=x)


def shared_guide(x):
    with pyro.plate("topics", 3):
        pyro.sample("loc", dist.Normal(pyro.param("m", torch.arange(3.0)), 1.0))


def test_a_plate_that_has_the_size_of_the_batch_by_chance_is_no_plate_of_data():
    structure = check_pair(Pair(shared, shared_guide), torch.randn(3))
    assert structure.row_parameters == () and structure.global_sites == ("loc",)


def local(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def local_with_scales(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, torch.ones(len(x))), obs=x)


FOR_ALL_ROWS = "takes only all of these rows at once"
OTHER_ROWS = {
    local: rf"'x': .*must have shape \(6,\).*got None from values of shape \(4,\).*{FOR_ALL_ROWS}",
    local_with_scales: rf"these 4 rows: The size of tensor.*parameters \['AutoNormal.locs.z', 'AutoNormal.scales.z'\].*{FOR_ALL_ROWS}",
}


@pytest.mark.parametrize("model", OTHER_ROWS)
def test_other_rows_for_a_guide_of_the_rows(model):
    guide, x = AutoNormal(model), torch.randn(6)
    guide(x)
    with pytest.raises(ValueError, match="batch_size must be 6, all of them; got 3"):
        fit(Pair(model, guide), x, batch_size=3, epochs=1, progress=False)
    with pytest.raises(ValueError, match=OTHER_ROWS[model]):
        log_weights(Pair(model, guide), x[:4], num_particles=2)


def test_event_shapes_may_follow_the_longest_datum():
    def model(x, lengths):
        x = x[:, : int(lengths.max())]
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            steps = dist.Normal(z[:, None].expand(x.shape), 1.0).mask(torch.arange(x.shape[1]) < lengths[:, None])
            pyro.sample("x", steps.to_event(1), obs=x)

    def guide(x, lengths):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    x, lengths = torch.randn(6, 5), torch.tensor([2, 4, 1, 3, 5, 2])
    assert check_pair(Pair(model, guide), x, lengths).num_elements == 17


class Grouped(EasyGuide):
    def guide(self, x):
        group = self.group(match="w.*")
        group.sample("ws", dist.Normal(pyro.param("w_mean", torch.zeros(group.event_shape)), 0.5).to_event(1))
        with self.plate("data", len(x)):
            z = self.group(match="z")
            z.sample("zs", dist.Normal(pyro.param("z_mean", torch.zeros(len(x), *z.event_shape)), 0.5).to_event(1))


def grouped(x):
    with pyro.plate("weights", 4):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
    with pyro.plate("biases", 2):
        b = pyro.sample("w_bias", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z + w.sum(-1, keepdim=True) + b.sum(-1, keepdim=True), 1.0), obs=x)


def test_an_easy_guide_is_fitted_and_encodes():
    """Its plates declare no size, and stay as they were if a run fails."""
    pair, x = Pair(grouped, Grouped(grouped)), torch.randn(6) + 3
    structure = check_pair(pair, x)
    assert structure.global_sites == ("w", "w_bias", "ws")
    assert structure.row_parameters == ("z_mean",) and "'w' lies outside" in structure.refusal
    before = pair.param_store["w_mean"].detach().clone()
    result = fit(pair, x, epochs=300, learning_rate=0.03, progress=False, compile=False)
    assert result.history.train_loss.iloc[-50:].mean() < result.history.train_loss.iloc[:50].mean()
    assert bool((pair.param_store["w_mean"] > before).all())
    assert encode(pair, x)["z"].shape == (6,)


def declare(x, *, decoder):
    pyro.module("decoder", decoder)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(decoder(z)[:, 0], 1.0), obs=x)


NETWORK = nn.Linear(2, 1)


def of_a_global(x, scale):
    declare(x, decoder=NETWORK)


def guide_of_vectors(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x[:, None].expand(-1, 2), 1.0).to_event(1))


def test_a_copy_of_partial_functions_has_networks_of_its_own_or_is_refused():
    x = torch.randn(6)
    pair = Pair(partial(declare, decoder=nn.Linear(2, 1)), guide_of_vectors)
    check_pair(pair, x)
    expected, copy = evaluate(pair, x, num_particles=5, progress=False).log_px, deepcopy(pair)
    fit(copy, x, epochs=2, learning_rate=0.5, progress=False)
    assert torch.equal(evaluate(pair, x, num_particles=5, progress=False).log_px, expected)
    assert not torch.equal(evaluate(copy, x, num_particles=5, progress=False).log_px, expected)
    pair = Pair(partial(of_a_global, scale=1.0), guide_of_vectors)
    check_pair(pair, x)
    with pytest.raises(TypeError, match="would share, and train, the original's Linear"):
        deepcopy(pair)


def test_the_weights_of_an_autoguide_in_a_partial_function_are_saved(tmp_path):
    def make():
        return Pair(partial(local), partial(AutoNormal(local)))

    x, pair, other = torch.randn(6), make(), make()
    fit(pair, x, epochs=2, learning_rate=0.5, progress=False)
    save_checkpoint(pair, tmp_path / "weights.safetensors")
    check_pair(other, x)
    load_checkpoint(other, tmp_path / "weights.safetensors")
    assert torch.equal(encode(other, x, seed=0), encode(pair, x, seed=0))


class Laplace(nn.Module):
    def forward(self):
        return dist.Laplace(0.0, 1.0)


@pytest.mark.parametrize("variant", [lambda pair: pair.with_prior(Laplace(), site="z"), lambda pair: WithPrior(pair, Laplace(), site="z")])
def test_another_prior_leaves_the_parameters_with_their_rows(variant):
    x, pair = torch.randn(8), Pair(local, AutoNormal(local))
    fit(pair, x, batch_size=None, epochs=1, progress=False)
    assert evaluate(variant(pair), x, num_particles=5, progress=False).num_fitted
    with pytest.raises(ValueError, match="belong to the rows of the training data, one each, and say nothing of other rows"):
        evaluate(variant(pair), torch.randn(8), num_particles=5, progress=False)
