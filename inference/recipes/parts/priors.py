"""Priors by name."""

from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt

from inference.recipes.registries import CODES, PRIORS, SIMPLEX, SPHERE
from inference.recipes.sizes import Counts
import pyro_lvm as lvm

if TYPE_CHECKING:
    from torch import Tensor, nn


@PRIORS.register("standard")
def _standard(*, latent_dim: PositiveInt = 8) -> "nn.Module":
    return lvm.StandardNormal(latent_dim)


@PRIORS.register("mixture")
def _mixture(*, latent_dim: PositiveInt = 8, num_components: PositiveInt = 50) -> "nn.Module":
    return lvm.GaussianMixturePrior(latent_dim, num_components)


@PRIORS.register("vamp", of_encoder=True)
def _vamp(encoder: "nn.Module", train: "Tensor", *, num_components: PositiveInt = 50) -> "nn.Module":
    """Build a VampPrior.

    Args:
        num_components: Components of the mixture prior, or pseudo-inputs of the vamp prior.
    """
    import torch

    if not 1 <= num_components <= len(train):
        raise ValueError(
            f"num_components must be between 1 and {len(train)}, the number of training data, as each "
            f"pseudo-input is initialized at one of them; got {num_components}. Take fewer."
        )
    rows = torch.randperm(len(train))[:num_components]
    network = getattr(encoder, "network", None)
    if isinstance(network, torch.nn.Sequential) and isinstance(network[0], lvm.ColumnInputs):
        return lvm.VampPrior(_of_features(encoder, network[1]), network[0](train[rows]))
    bounds = (0.0, float(train.max())) if train.min() >= 0 else None
    return lvm.VampPrior(encoder, train[rows], bounds=bounds)


def _of_features(encoder: "nn.Module", network: "nn.Module") -> "nn.Module":
    """The encoder without the layer that makes features of columns: pseudo-inputs are features, as codes and gaps are not learned."""
    other = copy(encoder)
    vars(other)["_modules"] = dict(vars(encoder)["_modules"])
    other.network = network
    return other


def _flow_prior(flow: Callable, latent_dim: int, transforms: int, hidden: Counts) -> "nn.Module":
    return lvm.FlowPrior(flow(latent_dim, transforms=transforms, hidden=hidden))


@PRIORS.register("maf")
def _maf(*, latent_dim: PositiveInt = 8, flow_transforms: PositiveInt = 2, flow_hidden: Counts = (64, 64)) -> "nn.Module":
    return _flow_prior(lvm.maf, latent_dim, flow_transforms, flow_hidden)


@PRIORS.register("spline")
def _spline(*, latent_dim: PositiveInt = 8, flow_transforms: PositiveInt = 2, flow_hidden: Counts = (64, 64)) -> "nn.Module":
    return _flow_prior(lvm.spline, latent_dim, flow_transforms, flow_hidden)


@PRIORS.register("resampled")
def _resampled(*, latent_dim: PositiveInt = 8, acceptance_hidden: Counts = (64, 64)) -> "nn.Module":
    """Build a prior by learned rejection.

    Args:
        acceptance_hidden: Widths of the hidden layers of the network that accepts or rejects draws, for the resampled prior.
    """
    return lvm.ResampledPrior(lvm.MLP(latent_dim, acceptance_hidden, 1), latent_dim)


@PRIORS.register("laplace")
def _laplace(*, latent_dim: PositiveInt = 8) -> "nn.Module":
    return lvm.LaplacePrior(latent_dim)


@PRIORS.register("student-t")
def _student_t(*, latent_dim: PositiveInt = 8) -> "nn.Module":
    return lvm.StudentTPrior(latent_dim)


@PRIORS.register("dirichlet", latents=SIMPLEX)
def _dirichlet(*, latent_dim: PositiveInt = 8) -> "nn.Module":
    return lvm.DirichletPrior(latent_dim)


@PRIORS.register("logistic-normal", latents=SIMPLEX)
def _logistic_normal(*, latent_dim: PositiveInt = 8) -> "nn.Module":
    return lvm.LogisticNormalPrior(latent_dim)


@PRIORS.register("sphere", latents=SPHERE)
def _sphere(*, latent_dim: PositiveInt = 8) -> "nn.Module":
    return lvm.UniformSpherePrior(latent_dim)


@PRIORS.register("uniform", latents=CODES)
def _uniform(encoder: "lvm.Quantizer") -> "nn.Module":
    return lvm.UniformCodePrior(encoder.code_shape, encoder.num_codes)


@PRIORS.register("independent", latents=CODES)
def _independent(encoder: "lvm.Quantizer") -> "nn.Module":
    return lvm.CategoricalCodePrior(encoder.code_shape, encoder.num_codes)


@PRIORS.register("autoregressive", latents=CODES)
def _autoregressive(encoder: "lvm.Quantizer") -> "nn.Module":
    return autoregressive_codes(encoder.code_shape, encoder.num_codes)


def autoregressive_codes(shape: Sequence[int], num_codes: int) -> "nn.Module":
    """Return an autoregressive prior: masked convolutions for a grid of codes, a causal transformer for codes of any other shape."""
    return (lvm.PixelCNNPrior if len(shape) == 2 else lvm.TransformerPrior)(shape, num_codes)
