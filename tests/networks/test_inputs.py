"""How inputs are standardized and made one-hot."""

import numpy as np
import torch

from pyro_lvm.networks.inputs import OneHot, Standardize


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
