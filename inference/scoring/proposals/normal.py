"""Normal distributions of vectors, one for each datum: with full covariances, or with independent coordinates."""

from dataclasses import dataclass
from functools import cached_property
import math
from typing import Protocol, Self

import torch
from torch import Tensor


class Normal(Protocol):
    """A normal distribution of a vector for each of R data, in float64.

    Attributes:
        loc: Means, shape ``[R, D]``.
        log_scale: Half of the logarithm of the covariance's determinant, ``[R]``.
    """

    @property
    def loc(self) -> Tensor: ...

    @property
    def log_scale(self) -> Tensor: ...

    def colored(self, noise: Tensor) -> Tensor:
        """Turn standard normal vectors ``[K, R, D]`` into deviations from the mean."""

    def whitened(self, deviations: Tensor) -> Tensor:
        """Turn deviations from the mean ``[K, R, D]`` into standard normal vectors, up to a rotation."""

    def uncolored(self, gradients: Tensor) -> Tensor:
        """Turn gradients ``[K, R, D]`` into those with respect to the standard normal vectors."""

    def recolored(self, gradients: Tensor) -> Tensor:
        """Turn gradients ``[K, R, D]`` with respect to the whitened deviations into those with respect to the deviations."""

    def rows(self, rows: slice) -> Self:
        """Return the distributions of some of the data."""


def log_density(normal: Normal, value: Tensor) -> Tensor:
    """Return the log density ``[K, R]`` of normal distributions at values ``[K, R, D]``."""
    return log_density_of(normal, normal.whitened(value - normal.loc))


def log_density_of(normal: Normal, noise: Tensor) -> Tensor:
    """Return the log density ``[K, R]`` of normal distributions where standard normal noise ``[K, R, D]`` has put their draws."""
    return -0.5 * noise.square().sum(2) - normal.log_scale - 0.5 * math.log(2 * math.pi) * noise.shape[2]


@dataclass(frozen=True)
class FullNormal:
    """Normal distributions with full covariances.

    Args:
        loc: Means, shape ``[R, D]``.
        covariance: Covariances, ``[R, D, D]``.
        scale_tril: Their Cholesky factors, ``[R, D, D]``.
    """

    loc: Tensor
    covariance: Tensor
    scale_tril: Tensor

    @cached_property
    def inverse(self) -> Tensor:
        """The inverse of ``scale_tril``: a product with it takes less time than solving with a triangle."""
        eye = torch.eye(self.loc.shape[1], dtype=self.loc.dtype, device=self.loc.device)
        return torch.linalg.solve_triangular(self.scale_tril, eye.expand_as(self.scale_tril), upper=False)

    @property
    def log_scale(self) -> Tensor:
        return self.scale_tril.diagonal(dim1=1, dim2=2).log().sum(1)

    def colored(self, noise: Tensor) -> Tensor:
        return (self.scale_tril @ noise.permute(1, 2, 0)).permute(2, 0, 1)

    def whitened(self, deviations: Tensor) -> Tensor:
        return (self.inverse @ deviations.permute(1, 2, 0)).permute(2, 0, 1)

    def uncolored(self, gradients: Tensor) -> Tensor:
        return (self.scale_tril.mT @ gradients.permute(1, 2, 0)).permute(2, 0, 1)

    def recolored(self, gradients: Tensor) -> Tensor:
        return (self.inverse.mT @ gradients.permute(1, 2, 0)).permute(2, 0, 1)

    def rows(self, rows: slice | Tensor) -> "FullNormal":
        return FullNormal(self.loc[rows], self.covariance[rows], self.scale_tril[rows])

    def replaced(self, rows: Tensor, other: "FullNormal") -> "FullNormal":
        """Return the same with other distributions for some of the data."""
        pairs = zip((self.loc, self.covariance, self.scale_tril), (other.loc, other.covariance, other.scale_tril), strict=True)
        return FullNormal(*(value.index_copy(0, rows, new) for value, new in pairs))


@dataclass(frozen=True)
class DiagonalNormal:
    """Normal distributions of independent coordinates.

    Args:
        loc: Means, shape ``[R, D]``.
        scale: Standard deviations, ``[R, D]``.
    """

    loc: Tensor
    scale: Tensor

    @property
    def log_scale(self) -> Tensor:
        return self.scale.log().sum(1)

    def colored(self, noise: Tensor) -> Tensor:
        return self.scale * noise

    def whitened(self, deviations: Tensor) -> Tensor:
        return deviations / self.scale

    def uncolored(self, gradients: Tensor) -> Tensor:
        return self.scale * gradients

    def recolored(self, gradients: Tensor) -> Tensor:
        return gradients / self.scale

    def full(self) -> FullNormal:
        """Return the same distributions with full covariances."""
        return FullNormal(self.loc, torch.diag_embed(self.scale.square()), torch.diag_embed(self.scale))

    def rows(self, rows: slice) -> "DiagonalNormal":
        return DiagonalNormal(self.loc[rows], self.scale[rows])


def standard_normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers in float32, which takes a third of the time, and return them in the dtype of another tensor."""
    return torch.randn(shape, generator=generator, device=like.device).to(like.dtype)
