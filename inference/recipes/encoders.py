"""Guides of continuous latents by name."""

from collections.abc import Callable
from functools import partial

from torch import nn

from inference.recipes.sizes import MakeNetwork, Sizes
import pyro_lvm as lvm

MakeEncoder = Callable[[Sizes, MakeNetwork], nn.Module]


def _full_rank(sizes: Sizes, network: MakeNetwork) -> lvm.FullRankNormalEncoder:
    D = sizes.latent_dim
    return lvm.FullRankNormalEncoder(network(D + D * (D + 1) // 2), D)


def _flow_encoder(flow: Callable, sizes: Sizes, network: MakeNetwork) -> lvm.FlowEncoder:
    D, H = sizes.latent_dim, sizes.flow_context
    steps = flow(D, H, transforms=sizes.flow_transforms, hidden=sizes.flow_hidden)
    return lvm.FlowEncoder(network(2 * D + H), steps)


ENCODERS: dict[str, MakeEncoder] = {  # from sizes, and a function that makes a network with a given number of outputs
    "normal": lambda sizes, network: lvm.NormalEncoder(network(2 * sizes.latent_dim)),
    "full-rank": _full_rank,
    "iaf": partial(_flow_encoder, lvm.iaf),
    "inverse-spline": partial(_flow_encoder, lvm.inverse_spline),
    "laplace": lambda sizes, network: lvm.LaplaceEncoder(network(2 * sizes.latent_dim)),
    "student-t": lambda sizes, network: lvm.StudentTEncoder(network(2 * sizes.latent_dim)),
    "dirichlet": lambda sizes, network: lvm.DirichletEncoder(network(sizes.latent_dim)),
    "logistic-normal": lambda sizes, network: lvm.LogisticNormalEncoder(network(2 * sizes.latent_dim)),
    "power-spherical": lambda sizes, network: lvm.PowerSphericalEncoder(network(sizes.latent_dim + 1)),
}
