"""Normal distributions of vectors, one for each datum: with full covariances, with few directions, or with independent coordinates."""

from dataclasses import Field, dataclass, fields, replace
from functools import cached_property
import math
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor


class Normal(Protocol):
    """A normal distribution of a vector for each of R data, in float64.

    Attributes:
        loc: Means, shape ``[R, D]``.
        log_scale: Half of the logarithm of the covariance's determinant, ``[R]``.
        precisions: Diagonals of the inverse covariances, ``[R, D]``.
    """

    @property
    def loc(self) -> Tensor: ...

    @property
    def log_scale(self) -> Tensor: ...

    @property
    def precisions(self) -> Tensor: ...

    def colored(self, noise: Tensor) -> Tensor:
        """Turn standard normal vectors ``[K, R, D]`` into deviations from the mean."""

    def whitened(self, deviations: Tensor) -> Tensor:
        """Turn deviations from the mean ``[K, R, D]`` into standard normal vectors, up to a rotation."""

    def uncolored(self, gradients: Tensor) -> Tensor:
        """Turn gradients ``[K, R, D]`` into those with respect to the standard normal vectors."""

    def recolored(self, gradients: Tensor) -> Tensor:
        """Turn gradients ``[K, R, D]`` with respect to the whitened deviations into those with respect to the deviations."""

    def around(self, loc: Tensor) -> Self:
        """Return the distributions with other means ``[R, D]``."""

    def rows(self, rows: slice | Tensor) -> Self:
        """Return the distributions of some of the data."""

    def replaced(self, rows: Tensor, other: Self) -> Self:
        """Return the same with other distributions for some of the data."""


def log_density(normal: Normal, value: Tensor) -> Tensor:
    """Return the log density ``[K, R]`` of normal distributions at values ``[K, R, D]``."""
    return log_density_of(normal, normal.whitened(value - normal.loc))


def log_density_of(normal: Normal, noise: Tensor) -> Tensor:
    """Return the log density ``[K, R]`` of normal distributions where standard normal noise ``[K, R, D]`` has put their draws."""
    return -0.5 * noise.square().sum(2) - normal.log_scale - 0.5 * math.log(2 * math.pi) * noise.shape[2]


class _Rows:
    """Distributions whose fields have one row for each datum."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def columns(self) -> tuple[Tensor, ...]:
        """Return the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def around(self, loc: Tensor) -> Self:
        return replace(self, loc=loc)

    def rows(self, rows: slice | Tensor) -> Self:
        return type(self)(*(value[rows] for value in self.columns()))

    def replaced(self, rows: Tensor, other: Self) -> Self:
        pairs = zip(self.columns(), other.columns(), strict=True)
        return type(self)(*(value.index_copy(0, rows, new) for value, new in pairs))


@dataclass(frozen=True)
class FullNormal(_Rows):
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

    @property
    def precisions(self) -> Tensor:
        return self.inverse.square().sum(1)

    def colored(self, noise: Tensor) -> Tensor:
        return (self.scale_tril @ noise.permute(1, 2, 0)).permute(2, 0, 1)

    def whitened(self, deviations: Tensor) -> Tensor:
        return (self.inverse @ deviations.permute(1, 2, 0)).permute(2, 0, 1)

    def uncolored(self, gradients: Tensor) -> Tensor:
        return (self.scale_tril.mT @ gradients.permute(1, 2, 0)).permute(2, 0, 1)

    def recolored(self, gradients: Tensor) -> Tensor:
        return (self.inverse.mT @ gradients.permute(1, 2, 0)).permute(2, 0, 1)


@dataclass(frozen=True)
class LowRankNormal(_Rows):
    r"""Normal distributions with a few directions in which their variances differ from those of independent coordinates.

    .. math:: S = A^{1/2} (I + V (\Lambda - I) V^T) A^{1/2}, \quad A = \operatorname{diag}(a^2), \quad V^T V = I

    Covariance and precision are both diagonal but for a part of low rank. A direction that is zero does not count.

    Args:
        loc: Means, shape ``[R, D]``.
        scale: a, ``[R, D]``.
        directions: V, ``[R, D, r]``.
        variances: Diagonals of :math:`\Lambda`, ``[R, r]``; one where the direction is zero.
    """

    loc: Tensor
    scale: Tensor
    directions: Tensor
    variances: Tensor

    @property
    def log_scale(self) -> Tensor:
        return self.scale.log().sum(1) + 0.5 * self.variances.log().sum(1)

    @property
    def precisions(self) -> Tensor:
        return (1 + (self.directions.square() * (1 / self.variances - 1)[:, None]).sum(2)) / self.scale.square()

    def colored(self, noise: Tensor) -> Tensor:
        return self.scale * self._stretched(noise, self.variances.sqrt())

    def whitened(self, deviations: Tensor) -> Tensor:
        return self._stretched(deviations / self.scale, self.variances.rsqrt())

    def uncolored(self, gradients: Tensor) -> Tensor:
        return self._stretched(self.scale * gradients, self.variances.sqrt())

    def recolored(self, gradients: Tensor) -> Tensor:
        return self._stretched(gradients, self.variances.rsqrt()) / self.scale

    def _stretched(self, vectors: Tensor, factors: Tensor) -> Tensor:
        """Return vectors ``[K, R, D]`` stretched along the directions by factors ``[R, r]``."""
        along = self.directions.mT @ vectors.permute(1, 2, 0)  # [R, r, K]
        return vectors + (self.directions @ ((factors - 1)[..., None] * along)).permute(2, 0, 1)


@dataclass(frozen=True)
class DiagonalNormal(_Rows):
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

    @property
    def precisions(self) -> Tensor:
        return self.scale.pow(-2)

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

    def low_rank(self, rank: int) -> LowRankNormal:
        """Return the same distributions with room for a number of directions."""
        shape = (*self.loc.shape, rank)
        return LowRankNormal(self.loc, self.scale, self.loc.new_zeros(shape), self.loc.new_ones(shape[0], rank))


def standard_normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers in float32, which takes a third of the time, and return them in the dtype of another tensor."""
    return torch.randn(shape, generator=generator, device=like.device).to(like.dtype)
