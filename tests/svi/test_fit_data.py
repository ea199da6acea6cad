"""fit: its batches, whose every row is seen once, and the units of training and validation data."""

from fits import linear_vae, quick
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from inference import evaluate, load_data
from inference.data.batches import as_batches, batch_sizes
from inference.data.units import are_different, units_of
import pyro_lvm as lvm

CPU = torch.device("cpu")


class Stream(IterableDataset):
    def __init__(self, x):
        self.x = x

    def __iter__(self):
        return iter(self.x)


@pytest.mark.parametrize(
    ("num_data", "batch_size", "drop_last", "sizes"),
    [
        (100, 100, False, [100]),
        (101, 100, False, [101]),
        (101, 100, True, [100]),
        (102, 100, False, [100, 2]),
        (201, 100, False, [100, 101]),
        (1, 1, False, [1]),
        (3, 1, False, [1, 1, 1]),
        (3, 2, False, [3]),
    ],
)
def test_a_remainder_of_one_joins_the_batch_before_it(num_data, batch_size, drop_last, sizes):
    assert batch_sizes(num_data, batch_size, drop_last=drop_last) == sizes


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("form", [lambda x: x, TensorDataset, Stream], ids=["tensor", "dataset", "stream"])
@pytest.mark.parametrize("num_data", [200, 201, 250])
def test_every_row_is_seen_once_in_an_epoch(num_data, form, shuffle):
    x = torch.arange(4.0 * num_data).reshape(num_data, 4)
    batches = as_batches(form(x), linear_vae().float(), batch_size=100, device=CPU, shuffle=shuffle)
    for _ in range(2):
        parts = [batch[0] for batch in batches]
        seen = torch.cat(parts)
        assert [len(part) for part in parts] == batch_sizes(num_data, 100)
        assert torch.equal(seen.sort(0).values, x) and torch.equal(seen, x) == (not shuffle or form is Stream)


@pytest.mark.parametrize("form", [lambda x: x, TensorDataset, Stream], ids=["tensor", "dataset", "stream"])
def test_a_smaller_last_batch_can_be_left_out(form):
    batches = as_batches(form(torch.zeros(250, 4)), linear_vae().float(), batch_size=100, device=CPU, drop_last=True)
    assert [len(batch[0]) for batch in batches] == [100, 100]


@pytest.mark.parametrize("form", [lambda x: x, TensorDataset, Stream], ids=["tensor", "dataset", "stream"])
def test_batch_norm_is_trained_where_one_datum_remains(form):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    vae = lvm.VAE(lvm.StandardNormal(2), lvm.GaussianLikelihood(nn.Linear(2, 4)), lvm.NormalEncoder(network))
    seen = []
    network[1].register_forward_hook(lambda module, args, output: seen.append(len(args[0])) if module.training else None)
    quick(vae, form(torch.randn(101, 4)), epochs=1)
    assert seen == [101]


def test_options_of_an_order_that_is_fixed_are_refused(x):
    for options in ({"shuffle": False}, {"drop_last": True}, {"batch_size": 10}):
        for data in ([x], DataLoader(x, 100)):
            with pytest.raises(ValueError, match=f"own batch size and order; got {next(iter(options))}="):
                quick(linear_vae(), data, **({"batch_size": None} | options))


def test_shuffling_is_an_option(x):
    seen = []
    quick(linear_vae(), x, shuffle=False, transform=lambda batch: seen.append(batch) or batch, epochs=1)
    assert torch.equal(torch.cat(seen[-6:]), x)


@pytest.mark.parametrize("form", [lambda x: x, lambda x: DataLoader(x, 50), lambda x: TensorDataset(torch.as_tensor(x))])
def test_other_units_of_validation_data_are_pointed_out(form, x):
    x = x / 20
    vae, options = linear_vae(), {"epochs": 1, "batch_size": None, "learning_rate": 1e-5}
    message = r"argument 0 of the validation data seems to be in other units.*instead of from .* in training"
    for train, valid in ((x, 20 * x), (20 * x, x), (x, x + 20)):
        with pytest.warns(UserWarning, match=message):
            quick(linear_vae(), form(train), valid=form(valid), **options)
    with pytest.warns(UserWarning, match="after the transform"):
        quick(vae, form(20 * x), valid=form(20 * x), transform=lambda x: x / 20, **options)
    quick(vae, form(20 * x), valid=form(x), transform=lambda x: x / 20, **options)  # warnings are errors
    quick(vae, form(x), valid=form(3 * x[:50] + 1), **options)


@pytest.mark.parametrize(
    ("train", "valid"),
    [
        (torch.distributions.Cauchy(0.0, 1.0), torch.distributions.Cauchy(0.0, 1.0)),
        (torch.distributions.Bernoulli(0.01), torch.distributions.Bernoulli(0.0005)),
        (torch.distributions.LogNormal(0.0, 3.0), torch.distributions.LogNormal(0.0, 3.0)),
    ],
    ids=["heavy tails", "rare ones", "skewed"],
)
def test_data_of_one_kind_are_in_the_same_units(train, valid):
    torch.manual_seed(0)
    for _ in range(50):
        first, second = units_of(train.sample((5000, 5))), units_of(valid.sample((500, 5)))
        assert not are_different(first, second)


def test_constants_and_missing_values_have_no_units():
    assert units_of(torch.full((3, 2), float("nan"))) is None
    assert not are_different(units_of(torch.zeros(5)), units_of(torch.arange(5)))
    gaps = torch.tensor([0.0, float("nan"), 1.0, 2.0])
    assert units_of(gaps) == units_of(torch.tensor([0.0, 1.0, 2.0]))


def dequantized_vae():
    torch.manual_seed(0)
    return lvm.VAE(lvm.StandardNormal(4), lvm.GaussianLikelihood(lvm.MLP(4, [16], 64)), lvm.NormalEncoder(lvm.MLP(64, [16], 8)))


def test_dequantized_data_are_in_the_units_of_their_validation_data():
    data = load_data("digits", dequantize=True)
    assert data.train.min() > 0 and data.train.max() < 1 and abs(data.train.mean() - data.valid.mean()) < 0.01
    once = quick(dequantized_vae(), data.train, valid=data.valid, epochs=5).history.valid_loss.iloc[-1]
    afresh = quick(dequantized_vae(), data, epochs=5).history.valid_loss.iloc[-1]
    assert abs(once - afresh) < 0.5


BYTES = np.random.default_rng(0).integers(256, size=(300, 64), dtype=np.uint8)


def bytes_vae(*first):
    torch.manual_seed(0)
    encoder = lvm.NormalEncoder(nn.Sequential(*first, lvm.MLP(64, [16], 8)))
    return lvm.VAE(lvm.StandardNormal(4), lvm.DiscretizedLogisticLikelihood(lvm.MLP(4, [16], (64, 3))), encoder)


def test_bytes_train_behind_standardize_and_otherwise_the_error_names_it():
    vae = bytes_vae(lvm.Standardize(BYTES))
    quick(vae, BYTES, valid=BYTES, epochs=3)
    assert evaluate(vae, BYTES, num_particles=10, progress=False).bits_per_dim < 9.5
    with pytest.raises((ValueError, FloatingPointError), match=r"as large as 255.*begin with pyro_lvm.Standardize\(train\)"):
        quick(bytes_vae(), BYTES, epochs=20, learning_rate=0.1)
    with pytest.raises(ValueError, match=r"as large as 2.*begin with pyro_lvm.Standardize\(train\)"):
        quick(bytes_vae(), 1e5 * BYTES)
