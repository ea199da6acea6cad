"""Priors by name."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from inference.recipes.sizes import Sizes
from pyro_lvm.networks.flows import maf, spline
from pyro_lvm.priors.flow import FlowPrior
from pyro_lvm.priors.gaussian_mixture import GaussianMixturePrior
from pyro_lvm.priors.heavy_tails import LaplacePrior, StudentTPrior
from pyro_lvm.priors.normal import StandardNormal
from pyro_lvm.priors.simplex import DirichletPrior, LogisticNormalPrior
from pyro_lvm.priors.sphere import UniformSpherePrior
from pyro_lvm.priors.vamp import VampPrior

MakePrior = Callable[[Sizes, nn.Module, Tensor], nn.Module]


def of_latent_dim(prior: Callable[[int], nn.Module]) -> MakePrior:
    """A prior that needs only the number of latents."""
    return lambda sizes, encoder, train: prior(sizes.latent_dim)


def _mixture(sizes: Sizes, encoder: nn.Module, train: Tensor) -> GaussianMixturePrior:
    return GaussianMixturePrior(sizes.latent_dim, sizes.num_components)


def _vamp(sizes: Sizes, encoder: nn.Module, train: Tensor) -> VampPrior:
    if not 1 <= sizes.num_components <= len(train):
        raise ValueError(
            f"num_components must be between 1 and {len(train)}, the number of training data, as each "
            f"pseudo-input starts as one of them; got {sizes.num_components}. Take fewer."
        )
    rows = torch.randperm(len(train))[: sizes.num_components]
    bounds = (0.0, float(train.max())) if train.min() >= 0 else None
    return VampPrior(encoder, train[rows], bounds=bounds)


def _flow_prior(flow: Callable, sizes: Sizes, encoder: nn.Module, train: Tensor) -> FlowPrior:
    return FlowPrior(flow(sizes.latent_dim, transforms=sizes.flow_transforms, hidden=sizes.flow_hidden))


PRIORS: dict[str, MakePrior] = {  # from sizes, the encoder and the training data
    "standard": of_latent_dim(StandardNormal),
    "mixture": _mixture,
    "vamp": _vamp,
    "maf": partial(_flow_prior, maf),
    "spline": partial(_flow_prior, spline),
    "laplace": of_latent_dim(LaplacePrior),
    "student-t": of_latent_dim(StudentTPrior),
    "dirichlet": of_latent_dim(DirichletPrior),
    "logistic-normal": of_latent_dim(LogisticNormalPrior),
    "sphere": of_latent_dim(UniformSpherePrior),
}
