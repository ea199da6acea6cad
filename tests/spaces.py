"""Spaces that latents may live on, as points with log cell sizes for quadrature, and an encoder of each kind."""

import math

import torch

from pyro_lvm import MLP, DirichletEncoder, LaplaceEncoder, LogisticNormalEncoder, PowerSphericalEncoder, StudentTEncoder

X = 3


def unit(D, seed=0):
    direction = torch.randn(D, generator=torch.Generator().manual_seed(seed)).double()
    return direction / direction.norm()


def doubles(*numbers):
    return torch.tensor(numbers).double()


def plane():
    """Points z = sinh(u), which reach far into heavy tails, and log cell sizes."""
    axis = torch.arange(-9, 9, 0.06).double()
    u = torch.cartesian_prod(axis, axis)
    return u.sinh(), u.cosh().log().sum(-1) + 2 * math.log(0.06)


def simplex():
    """Shares of the softmax of a plane, and log cell sizes of the first two."""
    axis = torch.arange(-30, 30, 0.2).double()
    u = torch.cartesian_prod(axis, axis)
    z = torch.cat([u, torch.zeros(len(u), 1).double()], -1).log_softmax(-1)
    return z.exp(), z.sum(-1) + 2 * math.log(0.2)


def sphere():
    height, angle = (torch.arange(200).double() + 0.5) / 100 - 1, torch.arange(200).double() * math.pi / 100
    t, a = torch.cartesian_prod(height, angle).unbind(-1)
    radius = (1 - t**2).sqrt()
    return torch.stack([t, radius * a.cos(), radius * a.sin()], -1), torch.full((len(t),), math.log(0.01 * math.pi / 100)).double()


ENCODERS = {
    "laplace": (plane, 2, lambda: LaplaceEncoder(MLP(X, [8], 4))),
    "student-t": (plane, 2, lambda: StudentTEncoder(MLP(X, [8], 4))),
    "dirichlet": (simplex, 3, lambda: DirichletEncoder(MLP(X, [8], 3))),
    "logistic-normal": (simplex, 3, lambda: LogisticNormalEncoder(MLP(X, [8], 6))),
    "power-spherical": (sphere, 3, lambda: PowerSphericalEncoder(MLP(X, [8], 4))),
}
