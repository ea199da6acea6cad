"""Priors by name."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from inference.recipes.sizes import Sizes
import pyro_lvm as lvm

MakePrior = Callable[[Sizes, nn.Module, Tensor], nn.Module]


def of_latent_dim(prior: Callable[[int], nn.Module]) -> MakePrior:
    """A prior that needs only the number of latent features."""
    return lambda sizes, encoder, train: prior(sizes.latent_dim)


def _mixture(sizes: Sizes, encoder: nn.Module, train: Tensor) -> lvm.GaussianMixturePrior:
    return lvm.GaussianMixturePrior(sizes.latent_dim, sizes.num_components)


def _vamp(sizes: Sizes, encoder: nn.Module, train: Tensor) -> lvm.VampPrior:
    if not 1 <= sizes.num_components <= len(train):
        raise ValueError(
            f"num_components must be between 1 and {len(train)}, the number of training data, as each "
            f"pseudo-input is initialized at one of them; got {sizes.num_components}. Take fewer."
        )
    rows = torch.randperm(len(train))[: sizes.num_components]
    bounds = (0.0, float(train.max())) if train.min() >= 0 else None
    return lvm.VampPrior(encoder, train[rows], bounds=bounds)


def _flow_prior(flow: Callable, sizes: Sizes, encoder: nn.Module, train: Tensor) -> lvm.FlowPrior:
    return lvm.FlowPrior(flow(sizes.latent_dim, transforms=sizes.flow_transforms, hidden=sizes.flow_hidden))


PRIORS: dict[str, MakePrior] = {  # from sizes, the encoder and the training data
    "standard": of_latent_dim(lvm.StandardNormal),
    "mixture": _mixture,
    "vamp": _vamp,
    "maf": partial(_flow_prior, lvm.maf),
    "spline": partial(_flow_prior, lvm.spline),
    "laplace": of_latent_dim(lvm.LaplacePrior),
    "student-t": of_latent_dim(lvm.StudentTPrior),
    "dirichlet": of_latent_dim(lvm.DirichletPrior),
    "logistic-normal": of_latent_dim(lvm.LogisticNormalPrior),
    "sphere": of_latent_dim(lvm.UniformSpherePrior),
}
