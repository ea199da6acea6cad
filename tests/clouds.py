"""Codes in the plane that look nothing like a standard normal."""

import math

import torch

STRETCH, SHIFT = torch.tensor([1e3, 1e-2]).double(), torch.tensor([-5e3, 0.3]).double()


def clusters(num_codes, seed=0):
    """Three well separated normal clouds of different covariances."""
    torch.manual_seed(seed)
    center = torch.tensor([[-6.0, 0.0], [6.0, 0.0], [0.0, 8.0]]).double()
    shape = torch.tensor([[[1.0, 0.0], [0.8, 0.3]], [[0.5, 0.0], [0.0, 0.5]], [[1.0, 0.0], [-0.9, 0.2]]]).double()
    which = torch.randint(3, (num_codes,))
    return center[which] + (shape[which] @ torch.randn(num_codes, 2, 1).double()).squeeze(-1)


def ring(num_codes, seed=0):
    torch.manual_seed(seed)
    angle, radius = 2 * math.pi * torch.rand(num_codes), 3 + 0.1 * torch.randn(num_codes)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)
