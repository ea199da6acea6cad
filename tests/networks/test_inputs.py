"""How inputs are standardized and made one-hot."""

import numpy as np
import pytest
import torch
from torch import nn

from pyro_lvm.networks.inputs import LogCounts, Offset, OneHot, Standardize
from pyro_lvm.networks.mlp import MLP
from pyro_lvm.networks.network import Join


def test_standardize_centers_scales_and_tames_outliers() -> None:
    x = torch.randn(200, 3).double() * torch.tensor([1e-3, 5.0, 1e4]) + torch.tensor([7.0, 0.0, -1e5])
    x = torch.cat([x, torch.full((200, 1), 42.0, dtype=x.dtype)], 1)
    y = Standardize(x)(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(4).double(), atol=1e-8, rtol=0)
    torch.testing.assert_close(y.std(0), torch.tensor([1.0, 1.0, 1.0, 0.0]).double())
    assert Standardize(x)(x[0] + 1e9).tolist() == [10.0] * 4


def test_one_hot_puts_categories_beside_channels() -> None:
    x = torch.randint(3, (5, 2, 4, 6))
    y = OneHot(3, 3)(x.float())
    assert y.shape == (5, 6, 4, 6)
    for category in range(3):
        assert torch.equal(y[:, 2 * category : 2 * category + 2], (x == category).float())


def test_standardize_takes_bytes():
    train = np.random.default_rng(0).integers(256, size=(200, 3), dtype=np.uint8)
    y = Standardize(train)(torch.tensor(train))
    torch.testing.assert_close(y.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.std(0), torch.ones(3))


def test_log_counts_are_standardized_logarithms() -> None:
    x = torch.poisson(torch.full((300, 2), 3.0).double() * torch.tensor([1.0, 100.0]))
    torch.testing.assert_close(LogCounts(x)(x), Standardize(x.log1p())(x.log1p()))
    assert LogCounts(x)(torch.full((1, 2), 1e30).double()).tolist() == [[10.0, 10.0]]


def test_an_offset_multiplies_rates() -> None:
    network = Offset(Join(None, nn.Identity(), MLP(2 + 2, [], (3, 2))).double(), 1)
    z, given = torch.randn(4, 5, 2).double(), (torch.randn(5, 1).double(), torch.full((5, 1), 7.0).double())
    network.network.second = Join()
    expected = network.network(z, *given) + np.log(7.0)
    torch.testing.assert_close(network(z, *given), expected)
    with pytest.raises(ValueError, match="offset must be positive; got 1 rows"):
        network(z, given[0], torch.tensor([[0.0]] + [[1.0]] * 4).double())
