"""Columns in units that networks cannot follow are warned of once, unless the model scales them."""

import warnings

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import fit, load_data, make_pair
import pyro_lvm as lvm

UNITS = np.array([1e-4, 1.0, 3e4])
SMALL = {"latent_dim": 2, "hidden": (8,)}


def rows(seed=0):
    return (np.random.default_rng(seed).normal(size=(60, 3)) + [0.0, 3.0, 1.0]).astype(np.float32)


def warned(pair, data):
    """The warnings of a fit."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fit(pair, data, epochs=1, progress=False)
    return [str(one.message) for one in found]


@pytest.mark.parametrize("likelihood", ["gaussian", "student-t"])
@pytest.mark.parametrize("units", [UNITS, np.full(3, 1e4), np.full(3, 1e-3)])
def test_arrays_as_they_are(likelihood, units):
    data = load_data(rows() * units.astype(np.float32))
    (message,) = warned(make_pair(data, likelihood=likelihood, **SMALL), data)
    assert "site 'x' observes columns whose standard deviations are from" in message and "Standardize" in message


def test_a_model_of_ones_own():
    decoder, encoder = lvm.MLP(2, [8], 3), lvm.NormalEncoder(torch.nn.Sequential(lvm.Standardize(rows() * UNITS), lvm.MLP(3, [8], 4)))
    vae = lvm.VAE(prior=lvm.StandardNormal(2), likelihood=lvm.GaussianLikelihood(decoder, learn_scale=True), encoder=encoder.float())
    assert len(warned(vae.double(), rows() * UNITS)) == 1


@pytest.mark.parametrize("likelihood", ["gaussian", "mixed"])
def test_tables_are_scaled(likelihood):
    table = load_data(pd.DataFrame(rows() * UNITS, columns=["a", "b", "c"]))
    assert warned(make_pair(table, likelihood=likelihood, **SMALL), table) == []


def test_other_arrays_are_not_warned_of():
    for likelihood, x in {"gaussian": rows(), "poisson": np.random.default_rng(0).poisson([0.1, 5.0, 4e4], (60, 3))}.items():
        data = load_data(x)
        assert warned(make_pair(data, likelihood=likelihood, **SMALL), data) == []
    pixels = load_data("digits", dequantize=True)
    assert warned(make_pair(pixels, likelihood="gaussian", **SMALL), pixels.train[:100]) == []


def test_a_pair_that_has_units_of_its_own_is_not_warned_of():
    units, decoder = torch.as_tensor(UNITS).float(), lvm.MLP(2, [8], 3)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(units * decoder(z), units).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    assert warned(lvm.Pair(model, guide), torch.as_tensor(rows()) * units) == []


def test_columns_far_from_zero_are_warned_of_unless_the_model_begins_there():
    x = rows() + np.array([0.0, 0.0, 1990.0], dtype=np.float32)
    encoder = lvm.NormalEncoder(torch.nn.Sequential(lvm.Standardize(x), lvm.MLP(3, [8], 4)))
    vae = lvm.VAE(prior=lvm.StandardNormal(2), likelihood=lvm.GaussianLikelihood(lvm.MLP(2, [8], 3)), encoder=encoder)
    (message,) = warned(vae, x)
    assert "observes column 2 with a mean of 1.99e+03" in message
    data = load_data(x)
    assert warned(make_pair(data, likelihood="gaussian", **SMALL), data) == []  # whose decoder begins at the means


def test_logarithms_of_data_are_no_units():
    x, decoder = torch.exp(torch.as_tensor(rows()) + 7), lvm.MLP(2, [8], 3)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.LogNormal(7 + decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    assert warned(lvm.Pair(model, guide), x) == []
