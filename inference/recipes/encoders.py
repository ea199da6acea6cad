"""Guides of continuous latents by name."""

from collections.abc import Callable
from functools import partial

from torch import nn

from inference.recipes.sizes import MakeNetwork, Sizes
from pyro_lvm.encoders.flow import FlowEncoder
from pyro_lvm.encoders.heavy_tails import LaplaceEncoder, StudentTEncoder
from pyro_lvm.encoders.normal import FullRankNormalEncoder, NormalEncoder
from pyro_lvm.encoders.simplex import DirichletEncoder, LogisticNormalEncoder
from pyro_lvm.encoders.sphere import PowerSphericalEncoder
from pyro_lvm.networks.flows import iaf, inverse_spline

MakeEncoder = Callable[[Sizes, MakeNetwork], nn.Module]


def _full_rank(sizes: Sizes, network: MakeNetwork) -> FullRankNormalEncoder:
    D = sizes.latent_dim
    return FullRankNormalEncoder(network(D + D * (D + 1) // 2), D)


def _flow_encoder(flow: Callable, sizes: Sizes, network: MakeNetwork) -> FlowEncoder:
    D, H = sizes.latent_dim, sizes.flow_context
    steps = flow(D, H, transforms=sizes.flow_transforms, hidden=sizes.flow_hidden)
    return FlowEncoder(network(2 * D + H), steps)


ENCODERS: dict[str, MakeEncoder] = {  # from sizes, and what makes a network of so many features
    "normal": lambda sizes, network: NormalEncoder(network(2 * sizes.latent_dim)),
    "full-rank": _full_rank,
    "iaf": partial(_flow_encoder, iaf),
    "inverse-spline": partial(_flow_encoder, inverse_spline),
    "laplace": lambda sizes, network: LaplaceEncoder(network(2 * sizes.latent_dim)),
    "student-t": lambda sizes, network: StudentTEncoder(network(2 * sizes.latent_dim)),
    "dirichlet": lambda sizes, network: DirichletEncoder(network(sizes.latent_dim)),
    "logistic-normal": lambda sizes, network: LogisticNormalEncoder(network(2 * sizes.latent_dim)),
    "power-spherical": lambda sizes, network: PowerSphericalEncoder(network(sizes.latent_dim + 1)),
}
