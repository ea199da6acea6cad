"""Guides whose parameters belong to the rows of the training data: fitted whole and in order, and scored on these rows alone."""

from fits import quick
import pyro
import pyro.distributions as dist
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from inference import evaluate, fit, load_checkpoint, log_weights, save_checkpoint
from pyro_lvm import Pair, check_pair

SLOW = {"learning_rate": 0.05, "progress": False, "batch_size": None}


def model(x):
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(torch.zeros(()), 1.0)), 1.0), obs=x)


def with_parameters(x):
    loc = pyro.param("loc", lambda: torch.zeros(len(x)))
    scale = pyro.param("scale", lambda: torch.ones(len(x)), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, scale))


def embedded(size):
    codes = nn.Embedding.from_pretrained(torch.zeros(size, 2), freeze=False)

    def guide(x):
        pyro.module("codes", codes)
        loc, log_scale = codes(torch.arange(len(x))).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()))

    return guide


GUIDES = {
    "parameters": lambda size: with_parameters,
    "embedding": embedded,
    "AutoNormal": lambda size: AutoNormal(model),
}


def log_px(x):
    return dist.Normal(0.0, 2**0.5).log_prob(x)


@pytest.mark.parametrize("size", [20, 130])
@pytest.mark.parametrize("name", GUIDES)
def test_every_row_gets_its_own_posterior(name, size, double):
    """Also of more rows than fit into a batch by default; the order of the data shows in no other."""
    torch.manual_seed(0)
    x = torch.linspace(-4, 4, size)[torch.randperm(size)]
    pair = Pair(model, GUIDES[name](size))
    fit(pair, x, epochs=300, **SLOW)
    score = evaluate(pair, x, num_particles=500, progress=False)
    assert abs(score.mean - log_px(x).mean()) < 0.01 and (score.log_px - score.elbo).mean() < 0.05
    assert check_pair(pair, x).row_parameters


@pytest.fixture
def fitted():
    """A pair with parameters of rows, and its training data, of more than a batch."""
    x = torch.linspace(-2, 2, 130)
    return fit(Pair(model, with_parameters), x, epochs=2, **SLOW).pair, x


def test_other_rows_are_not_scored(fitted):
    pair, x = fitted
    assert log_weights(pair, x, num_particles=2).shape == (2, 130)
    message = r"parameters \('loc', 'scale'\) belong to the rows of the training data.*score the training"
    for rows in (x.flip(0), x + 0.5):
        for use in (lambda rows: evaluate(pair, rows, progress=False), lambda rows: log_weights(pair, rows, num_particles=2)):
            with pytest.raises(ValueError, match=message):
                use(rows)
    with pytest.raises(ValueError, match="belong to the rows of the training data, one each, and say nothing of other rows"):
        evaluate(pair, x[:20], progress=False)


def test_the_rows_are_known_after_a_checkpoint(fitted, tmp_path):
    pair, x = fitted
    save_checkpoint(pair, tmp_path / "a.safetensors")
    other = Pair(model, with_parameters)
    check_pair(other, x)
    load_checkpoint(other, tmp_path / "a.safetensors")
    assert torch.equal(log_weights(other, x, num_particles=2, seed=0), log_weights(pair, x, num_particles=2, seed=0))
    with pytest.raises(ValueError, match="belong to the rows of the training data"):
        log_weights(other, x + 1, num_particles=2)


def test_mini_batches_and_validation_data_are_refused():
    x = torch.linspace(-2, 2, 130)
    loader = DataLoader(TensorDataset(x), batch_size=65)
    for guide in (lambda: with_parameters, lambda: AutoNormal(model)):
        with pytest.raises(ValueError, match="belong to the rows.*batch_size must be 130, all of them; got 10"):
            quick(Pair(model, guide()), x, batch_size=10)
        with pytest.raises(ValueError, match="belong to the rows.*there can be no validation data"):
            quick(Pair(model, guide()), x, batch_size=None, valid=x)
        with pytest.raises(ValueError, match="belong to the rows.*must then be tensors of all rows; got batches"):
            quick(Pair(model, guide()), loader, batch_size=None)


def test_all_rows_come_at_once_and_in_their_order():
    x, seen = torch.arange(130.0), []

    def guide(x):
        seen.append(x.clone())
        with_parameters(x)

    pair = Pair(model, guide)
    fit(pair, x / 50, epochs=3, **SLOW)
    assert all(torch.equal(rows, x / 50) for rows in seen[-3:])


def test_parameters_of_as_many_features_as_data_belong_to_no_rows():
    """Only those that a datum uses by its position do."""
    size = 7

    def model(x):
        weight = pyro.param("weight", torch.ones(size))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None] * weight, 1.0).to_event(1), obs=x)

    def guide(x):
        slope = pyro.param("slope", torch.zeros(size))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ slope, 1.0))

    x = torch.randn(size, size)
    assert check_pair(Pair(model, guide), x).row_parameters == ()
    pair = quick(Pair(model, guide), x, batch_size=None).pair
    assert evaluate(pair, torch.randn(3, size), num_particles=5, progress=False).log_px.shape == (3,)


def test_a_vector_of_all_latents_is_no_density_of_a_datum():
    x = torch.randn(6)
    with pytest.raises(ValueError, match="data plate|rows|auxiliary"):
        evaluate(Pair(model, AutoDiagonalNormal(model)), x, progress=False)
