"""The dtypes in which a pair gets its data."""

from fits import linear_vae, quick
import numpy as np
import pyro
import pyro.distributions as dist
from pyro.infer.autoguide import AutoNormal
import pytest
import torch
from torch import nn

from inference import encode, evaluate, load_data, log_weights
from pyro_lvm import VAE, BernoulliLikelihood, NormalEncoder, Pair, StandardNormal
from pyro_lvm.dtypes import Suit, accepted_dtypes
from pyro_lvm.reading import read_batch

X = np.random.default_rng(0).normal(size=(37, 4))
FLOAT = torch.float32


def test_a_score_of_an_array_is_that_of_the_same_data_whatever_the_dtype_of_the_pair():
    single, double = (evaluate(pair, X, num_particles=2, progress=False) for pair in (linear_vae().float(), linear_vae()))
    assert single.data_id == double.data_id == evaluate(linear_vae(), torch.tensor(X), num_particles=2, progress=False).data_id


def test_a_pair_in_double_precision_takes_single_data_and_keeps_double_ones():
    assert read_batch(linear_vae(), (X.astype(np.float32),))[0].dtype == torch.float64
    assert read_batch(linear_vae(), (X,))[0].dtype == torch.float64
    assert read_batch(Pair(lambda x: None, lambda x: None), (X,))[0].dtype == torch.float64  # it has no parameters and runs on any


def test_numbers_that_overflow_are_refused():
    with pytest.raises(ValueError, match="argument 0 must be finite in float32, the dtype of the pair; got numbers up to .*e\\+300"):
        encode(linear_vae().float(), 1e300 * X)
    infinite = X.copy()
    infinite[0, 0] = np.inf
    assert read_batch(linear_vae().float(), (infinite,))[0].isinf().sum() == 1  # it was infinite before


def conditional(use):
    torch.manual_seed(0)
    offset, encoder = nn.Embedding(3, 4), nn.Linear(4, 2)

    def model(x, y):
        pyro.module("offset", offset)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(use(offset, y) + z.sum(-1, keepdim=True), 1.0).to_event(1), obs=x)

    def guide(x, y):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 0.5).to_event(1))

    return Pair(model, guide)


USES = {
    "layer": lambda offset, y: offset(y),
    "index": lambda offset, y: offset.weight[y],
    "indicators": lambda offset, y: nn.functional.one_hot(y, 3).float() @ offset.weight,
}


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int32", "int64"])
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_labels_stay_integers(use, dtype):
    y = (np.arange(37) % 2).astype(dtype)
    batch = read_batch(conditional(use), (X, y))
    assert not batch[1].is_floating_point() and torch.equal(batch[1].long(), torch.tensor(y.astype(int)))
    assert batch[0].dtype == FLOAT
    expected = log_weights(conditional(use), torch.tensor(X, dtype=FLOAT), torch.arange(37) % 2, num_particles=2, seed=0)
    torch.testing.assert_close(log_weights(conditional(use), X, y, num_particles=2, seed=0), expected)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64"])
def test_images_of_integers_become_floating_point_for_networks(dtype):
    images = (X > 0).astype(dtype)
    vae, labels = linear_vae().float(), np.arange(37) % 3
    assert read_batch(vae, (images,))[0].dtype == FLOAT
    both = read_batch(conditional(USES["layer"]), (images, labels))
    assert [x.dtype for x in both] == [FLOAT, torch.int64]
    assert torch.equal(encode(vae, images, seed=0), encode(vae, torch.tensor(images).float(), seed=0))


def test_integers_that_would_change_are_refused():
    with pytest.raises(ValueError, match="argument 0 must hold integers that float32 can represent.*from 16777217 to 16777364"):
        encode(linear_vae().float(), 2**24 + 1 + np.arange(37 * 4).reshape(37, 4))


def test_narrow_integers_do_not_wrap_around():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=2 * x)

    x = np.array([100, 200], np.uint8)
    score = evaluate(Pair(model, lambda x: None), x, progress=False)
    torch.testing.assert_close(score.log_px, dist.Normal(0.0, 1.0).log_prob(torch.tensor([200.0, 400.0])).double())


def test_what_a_pair_runs_on_is_tried_first_argument_first():
    tried = []

    def run(x, y):
        tried.append((x.dtype, y.dtype))
        torch.zeros(2, 2) @ x  # floating-point
        torch.zeros(3)[y]  # an index

    x, y = torch.ones(5, 2, dtype=torch.int64), torch.ones(5, dtype=torch.int64)
    choices = [torch.int64, FLOAT]
    assert accepted_dtypes(lambda x, y: run(x[:2], y), (x, y), [choices, choices]) == (FLOAT, torch.int64)
    assert tried == [(torch.int64, torch.int64), (FLOAT, torch.int64)]
    assert accepted_dtypes(lambda x: x.reshape(7), (x,), [choices]) == (torch.int64,)  # fails on both; for another reason than dtypes


def test_a_trial_leaves_no_trace():
    runs = []

    def model(x):
        loc = pyro.param("loc", lambda: torch.randn(4))
        runs.append(x.dtype)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x @ torch.eye(4))

    pair = Pair(model, lambda x: None)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    suit = Suit(pair)
    assert [suit((torch.ones(5, 4, dtype=torch.int64),))[0].dtype for _ in range(3)] == [FLOAT] * 3
    assert runs == [FLOAT] or len(runs) <= 2  # decided once
    assert torch.equal(torch.rand(1), expected) and not list(pair.param_store.keys())


def test_an_automatic_guide_gets_its_shapes_from_the_fit():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)

    guide = AutoNormal(model)
    assert read_batch(Pair(model, guide), (X[:, 0],))[0].dtype == torch.float64
    assert guide.prototype_trace is None
    quick(Pair(model, guide), X[:, 0], batch_size=37)
    assert guide.median()["z"].shape == (37,)


def lazy_vae():
    networks = (nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(width)) for width in (4, 64))
    encoder, decoder = networks
    return VAE(StandardNormal(2), BernoulliLikelihood(decoder), NormalEncoder(encoder))


def test_lazy_layers_are_initialized_by_the_seed():
    x, fitted = load_data("digits").test, []
    for state in (0, 1):
        torch.manual_seed(state)
        fitted.append(quick(lazy_vae(), x).pair)
    assert all(torch.equal(p, q) for p, q in zip(*(pair.parameters() for pair in fitted), strict=True))


def test_lazy_layers_that_pyro_would_register_too_early_are_refused():
    encoder = nn.LazyLinear(2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), 1.0).expand([len(x), 4]).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 1.0).to_event(1))

    with pytest.raises(ValueError, match="lazy layers of the pair must be initialized.*Call the network once"):
        quick(Pair(model, guide), X.astype(np.float32), batch_size=None)
