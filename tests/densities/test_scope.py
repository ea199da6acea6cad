"""Scoring leaves random numbers, modes, gradients and denormals as they were, and refuses pairs without a likelihood."""

from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from inference import evaluate, log_weights
from pyro_lvm import Pair


def test_random_state_of_the_caller_is_untouched():
    oracle = LinearGaussian()
    x = oracle.sample(3)
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    evaluate(oracle.broad, x, num_particles=10)
    assert torch.equal(torch.rand(2), expected)


def test_dropout_and_batch_norm_are_in_evaluation_mode():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2)).double().train()
    oracle = LinearGaussian()

    def guide(x):
        pyro.module("network", network)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(network(x), 1.0).to_event(1))

    x, buffers = oracle.sample(5), [b.clone() for b in network.buffers()]
    first = log_weights(Pair(oracle.model, guide), x, num_particles=4, seed=0)
    network[1].eval()
    second = log_weights(Pair(oracle.model, guide), x, num_particles=4, seed=0)
    assert torch.equal(first, second)
    assert network[0].training and not network[1].training and network[2].training
    assert all(torch.equal(a, b) for a, b in zip(buffers, network.buffers(), strict=True))


def test_a_nan_weight_is_an_error_that_leaves_no_trace():
    oracle = LinearGaussian()

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.full((len(x), 2), float("nan")).double(), 1.0, validate_args=False).to_event(1))

    with pytest.raises(ValueError, match="(?i)nan"):
        evaluate(Pair(oracle.model, guide), oracle.sample(3), num_particles=10)
    assert torch.is_grad_enabled()
    assert not pyro.get_param_store().keys()


def test_flushing_of_denormals_is_left_as_it_was():
    oracle = LinearGaussian()
    for before in (True, False):
        torch.set_flush_denormal(before)
        evaluate(oracle, oracle.sample(2), num_particles=2)
        assert bool(torch.tensor(1e-39) * 1 == 0) == before


def test_a_site_outside_the_plate_is_refused():
    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    def guide(x):
        pyro.sample("loc", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="'loc' lies outside the data plate.*Move it into"):
        log_weights(Pair(model, guide), torch.zeros(4), num_particles=2)
