"""Guides of continuous latents by name."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt

from inference.recipes.registries import ENCODERS, SIMPLEX, SPHERE
from inference.recipes.sizes import Counts, MakeNetwork
import pyro_lvm as lvm

if TYPE_CHECKING:
    from torch import nn


@ENCODERS.register("normal")
def _normal(network: MakeNetwork, *, latent_dim: PositiveInt = 8) -> "nn.Module":
    """Build a diagonal normal guide.

    Args:
        latent_dim: Number of latent features of each level, or of a code vector.
    """
    return lvm.NormalEncoder(network(2 * latent_dim))


@ENCODERS.register("full-rank")
def _full_rank(network: MakeNetwork, *, latent_dim: PositiveInt = 8) -> "nn.Module":
    D = latent_dim
    return lvm.FullRankNormalEncoder(network(D + D * (D + 1) // 2), D)


def _flow(flow: Callable, network: MakeNetwork, latent_dim: int, transforms: int, hidden: Counts, context: int) -> "nn.Module":
    return lvm.FlowEncoder(network(2 * latent_dim + context), flow(latent_dim, context, transforms=transforms, hidden=hidden))


@ENCODERS.register("iaf")
def _iaf(
    network: MakeNetwork,
    *,
    latent_dim: PositiveInt = 8,
    flow_transforms: PositiveInt = 2,
    flow_hidden: Counts = (64, 64),
    flow_context: PositiveInt = 32,
) -> "nn.Module":
    """Build a guide with an inverse autoregressive flow.

    Args:
        flow_transforms: Steps of a flow, in the prior or in the encoder.
        flow_hidden: Widths of the hidden layers of each step of a flow.
        flow_context: Features of x that condition a flow in the encoder.
    """
    return _flow(lvm.iaf, network, latent_dim, flow_transforms, flow_hidden, flow_context)


@ENCODERS.register("inverse-spline")
def _inverse_spline(
    network: MakeNetwork,
    *,
    latent_dim: PositiveInt = 8,
    flow_transforms: PositiveInt = 2,
    flow_hidden: Counts = (64, 64),
    flow_context: PositiveInt = 32,
) -> "nn.Module":
    return _flow(lvm.inverse_spline, network, latent_dim, flow_transforms, flow_hidden, flow_context)


@ENCODERS.register("laplace")
def _laplace(network: MakeNetwork, *, latent_dim: PositiveInt = 8) -> "nn.Module":
    return lvm.LaplaceEncoder(network(2 * latent_dim))


@ENCODERS.register("student-t")
def _student_t(network: MakeNetwork, *, latent_dim: PositiveInt = 8) -> "nn.Module":
    return lvm.StudentTEncoder(network(2 * latent_dim))


@ENCODERS.register("dirichlet", latents=SIMPLEX)
def _dirichlet(network: MakeNetwork, *, latent_dim: PositiveInt = 8) -> "nn.Module":
    return lvm.DirichletEncoder(network(latent_dim))


@ENCODERS.register("logistic-normal", latents=SIMPLEX)
def _logistic_normal(network: MakeNetwork, *, latent_dim: PositiveInt = 8) -> "nn.Module":
    return lvm.LogisticNormalEncoder(network(2 * latent_dim))


@ENCODERS.register("power-spherical", latents=SPHERE)
def _power_spherical(network: MakeNetwork, *, latent_dim: PositiveInt = 8) -> "nn.Module":
    return lvm.PowerSphericalEncoder(network(latent_dim + 1))
