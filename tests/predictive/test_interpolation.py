"""Walks between codes."""

import numpy as np
import pytest
import torch

from inference.predictive.interpolation import interpolate


def test_walks_turn_evenly_and_change_length_evenly():
    a, b = torch.tensor([2.0, 0.0, 0.0]).double(), torch.tensor([0.0, 0.0, 4.0]).double()
    path = interpolate(a, b, 4)
    torch.testing.assert_close(path.norm(dim=1), torch.tensor([2, 8 / 3, 10 / 3, 4]).double())
    angles = torch.atan2(path[:, 2], path[:, 0])
    torch.testing.assert_close(angles, torch.linspace(0, np.pi / 2, 4).double())
    for end in (-a, 2 * a, 0 * a):
        torch.testing.assert_close(interpolate(a, end, 3), torch.stack([a, (a + end) / 2, end]))
    assert interpolate(torch.zeros(1), torch.ones(1), 2).tolist() == [[0.0], [1.0]]
    shares = interpolate(torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.0, 0.1, 0.9]), 5)
    torch.testing.assert_close(shares.sum(1), torch.ones(5))
    torch.testing.assert_close(shares[2], torch.tensor([0.35, 0.15, 0.5]))
    with pytest.raises(ValueError, match="num_steps must be an integer of at least 2"):
        interpolate(a, b, 1)
