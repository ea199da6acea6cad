"""Distributions as points: all states of discrete ones, and quadrature or random points with weights for densities."""

from dataclasses import dataclass, replace
import math
from typing import Any

from pyro.distributions import TorchDistribution, constraints
import torch
from torch import Size, Tensor
from torch.distributions import Independent, biject_to

from pyro_lvm.likelihoods.columns import ColumnValues
from pyro_lvm.sites import innermost_support, support_of

MOST_ROWS = 20  # rows of a batch of distributions that are examined
MOST_STATES = 2**17
_REACH = {1: 20.0, 2: 9.0}  # of the quadrature, by the number of dimensions: sinh(9) is 4000 scales
_STEPS = {1: 0.02, 2: 0.1}
_NEGLIGIBLE = -25.0  # log probability of a cell
_NUM_RANDOM = 50_000
_DF = 5.0  # of the Student's t distribution that random points come from
_WAVES = (0.7, 1.5, 3.0)


@dataclass(frozen=True)
class Law:
    """A batch of distributions of which some are examined, as R rows with events ``[*E]``.

    Attributes:
        p: The distribution.
        rows: Which of its flattened batch are examined, ``[R]``.
    """

    p: TorchDistribution
    rows: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """Log densities ``[N, R]`` of values ``[N, R, *E]``."""
        full = z.new_zeros(len(z), self.p.batch_shape.numel(), *self.p.event_shape)
        # Rows that are not examined get a value of an examined one, which need not be in their support.
        full = z[:, :1].expand_as(full).clone()
        full[:, self.rows] = z
        return self.p.log_prob(full.reshape(len(z), *self.p.batch_shape, *self.p.event_shape)).reshape(len(z), -1)[:, self.rows]

    def of_rows(self, values: Tensor) -> Tensor:
        """The examined rows of values ``[N, *batch, *E]``, ``[N, R, *E]``."""
        return values.reshape(len(values), -1, *self.p.event_shape)[:, self.rows]


def _sizes_of_columns(p: TorchDistribution) -> tuple[int, ...]:
    """Return the number of values of each column, if a distribution is of columns of codes alone; otherwise, of none."""
    support = innermost_support(p)
    return support.num_values if isinstance(support, ColumnValues) and min(support.num_values) > 0 else ()


def law_of(p: Any) -> Law:
    """Return the laws of a distribution: of its elements if these are independent and univariate, and discrete or more than two."""
    base = getattr(p, "base_dist", None)
    sizes = _sizes_of_columns(p)
    has_elements = isinstance(p, Independent) and base is not None and not base.event_shape and not sizes
    if has_elements and (p.event_shape.numel() > 2 or p.support.is_discrete):
        p = base
    if not p.batch_shape:
        p = p.expand(Size((1,)))
    num = p.batch_shape.numel()
    return Law(p, torch.arange(num)[:: -(-num // MOST_ROWS)])


@dataclass(frozen=True)
class Points:
    """Points over which a density is summed.

    Attributes:
        z: The points, ``[N, R, *E]``.
        log_volume: Logarithms of the volumes that they stand for, ``[N, R]``.
        v: Their coordinates, in which features are smooth, ``[N, R, d]``.
        parts: Number of parts into which they are cut, each of which stands for the whole.
        how: What they are, in words.
    """

    z: Tensor
    log_volume: Tensor
    v: Tensor
    parts: int
    how: str

    def integral(self, log_density: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """Return the integrals ``[R, F]`` of features ``[N, R, F]`` under a density ``[N, R]``, and their errors."""
        terms = (log_density + self.log_volume).exp()[..., None] * f  # [N, R, F]
        each = self.parts * terms.unflatten(0, (self.parts, -1)).sum(1)  # [parts, R, F]
        return each.mean(0), each.std(0) / math.sqrt(self.parts)

    def where(self, matters: Tensor) -> "Points":
        """The points that matter ``[N, R]`` in any row, or whose counterparts in other parts do."""
        kept = matters.any(1).unflatten(0, (self.parts, -1)).any(0).repeat(self.parts)
        return replace(self, z=self.z[kept], log_volume=self.log_volume[kept], v=self.v[kept])


class Coordinates:
    r"""Coordinates v of a law's values: :math:`z = T(l + s \sinh v)`, with T from unconstrained space to the support.

    Args:
        law: The law.
        draws: Draws of it, ``[N, R, *E]``, whose quantiles give l and s.

    Raises:
        ValueError: If its support has no unconstrained coordinates.
    """

    def __init__(self, law: Law, draws: Tensor) -> None:
        support = support_of(law.p)
        if support is None:
            raise ValueError(f"{type(law.p).__name__} must have a support; it has none. Define it, such as constraints.real_vector.")
        self.is_sphere = support is constraints.sphere
        if self.is_sphere:
            return
        try:
            self.transform = biject_to(getattr(support, "base_constraint", support) if _is_of_mixture(support) else support)
        except NotImplementedError as error:
            raise ValueError(f"the support {support} has no unconstrained coordinates. Take one of torch's constraints.") from error
        u = flat(self.transform.inv(draws))  # [N, R, d]
        low, self.loc, high = u.quantile(torch.tensor([0.16, 0.5, 0.84], dtype=u.dtype), 0)  # [R, d]
        self.scale = ((high - low) / 2).clamp_min(1e-12)

    def of(self, z: Tensor) -> Tensor:
        """Coordinates ``[N, R, d]`` of values ``[N, R, *E]``."""
        return z if self.is_sphere else ((flat(self.transform.inv(z)) - self.loc) / self.scale).asinh()

    def at(self, v: Tensor, shape: Size) -> tuple[Tensor, Tensor]:
        """Values ``[N, R, *E]`` at coordinates, whose unconstrained events have the given shape, and log volume elements ``[N, R]``."""
        u = self.loc + self.scale * v.sinh()  # [N, R, d]
        unconstrained = u.reshape(*u.shape[:2], *shape)
        z = self.transform(unconstrained)
        stretch = self.transform.log_abs_det_jacobian(unconstrained, z).reshape(*u.shape[:2], -1).sum(-1)
        return z, stretch + (self.scale.log() + v.cosh().log()).sum(-1)


def flat(z: Tensor) -> Tensor:
    """Values ``[N, R, *E]`` as vectors, ``[N, R, d]``."""
    return z.reshape(*z.shape[:2], -1)


def _is_of_mixture(support: constraints.Constraint) -> bool:
    return type(support).__name__ == "MixtureSameFamilyConstraint"


def points_of(law: Law, draws: Tensor, coordinates: Coordinates) -> Points:
    """Return points over which the law's density is summed: a grid in one or two dimensions, otherwise random ones."""
    if coordinates.is_sphere:
        return _on_sphere(law)
    v = coordinates.of(draws)
    d, shape = v.shape[-1], coordinates.transform.inverse_shape(draws.shape)[2:]
    if d in _STEPS:
        points = _grid(law, coordinates, d, shape)
        log_density = law.log_prob(points.z).detach()
        _, error = points.integral(log_density, torch.ones_like(points.v[..., :1]))
        if (error < 0.01).all():
            return points.where(log_density + points.log_volume > _NEGLIGIBLE)
    return _random(coordinates, v, shape)


def _grid(law: Law, coordinates: Coordinates, d: int, shape: Size) -> Points:
    h = _STEPS[d]
    axis = torch.arange(-_REACH[d], _REACH[d], h, dtype=torch.float64)
    v = torch.cartesian_prod(*[axis] * d).reshape(-1, 1, d)
    v = torch.cat([v, v + h / 2]).expand(-1, len(law.rows), -1)  # two grids, whose difference shows the error
    z, log_volume = coordinates.at(v, shape)
    return Points(z, log_volume + d * math.log(h) - math.log(2), v, 2, f"quadrature over {len(v)} points")


def _random(coordinates: Coordinates, drawn: Tensor, shape: Size) -> Points:
    """Points of a Student's t distribution with the moments of draws."""
    d = drawn.shape[-1]
    centered = drawn - drawn.mean(0)
    covariance = torch.einsum("nri,nrj->rij", centered, centered) / len(drawn)
    root = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(d).to(covariance))  # [R, d, d]
    normal = torch.randn(_NUM_RANDOM, *drawn.shape[1:], dtype=drawn.dtype)
    chi2 = torch.distributions.Chi2(torch.tensor(_DF, dtype=drawn.dtype)).sample(normal.shape[:2])  # [N, R]
    e = normal * (_DF / chi2).sqrt()[..., None]
    v = drawn.mean(0) + torch.einsum("rij,nrj->nri", root, e)
    z, log_volume = coordinates.at(v, shape)
    log_q = (
        math.lgamma((_DF + d) / 2)
        - math.lgamma(_DF / 2)
        - d / 2 * math.log(_DF * math.pi)
        - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        - (_DF + d) / 2 * (e.square().sum(-1) / _DF).log1p()
    )
    return Points(z, log_volume - log_q - math.log(_NUM_RANDOM), v, 100, f"importance sampling with {_NUM_RANDOM} draws")


def _on_sphere(law: Law) -> Points:
    D = law.p.event_shape[-1]
    e = torch.randn(_NUM_RANDOM, len(law.rows), D, dtype=torch.float64)
    z = e / e.norm(dim=-1, keepdim=True)
    log_area = math.log(2) + D / 2 * math.log(math.pi) - math.lgamma(D / 2)
    log_volume = torch.full(z.shape[:2], log_area - math.log(_NUM_RANDOM), dtype=torch.float64)
    return Points(z, log_volume, z, 100, f"importance sampling with {_NUM_RANDOM} uniform draws")


def features(v: Tensor) -> Tensor:
    """Return waves ``[N, R, F]`` along the axes and, in more dimensions than one, along three other directions."""
    d = v.shape[-1]
    directions = torch.eye(d, dtype=v.dtype)
    if d > 1:
        others = torch.randn(d, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(v)
        directions = torch.cat([directions, others / others.norm(dim=0)], -1)  # [d, G]
    phases = torch.cat([wave * (v @ directions) for wave in _WAVES], -1)
    return torch.cat([phases.cos(), phases.sin()], -1)


def states_of(law: Law, draws: Tensor) -> Tensor:
    """Return all values of a discrete law, ``[N, R, *E]``; of a law with infinitely many, those up to far beyond its draws.

    Raises:
        ValueError: If there are too many, or the law does not say what they are.
    """
    if law.p.has_enumerate_support:
        num = getattr(law.p, "num_codes", 2) ** getattr(getattr(law.p, "codes", law.p), "event_shape", Size()).numel()
        if law.p.event_shape and num > MOST_STATES:
            raise ValueError(f"a discrete part is checked by its at most {MOST_STATES} joint values; got {num}. Build a smaller one.")
        return law.of_rows(law.p.enumerate_support())
    support = support_of(law.p)
    low = getattr(support, "lower_bound", None)
    if law.p.event_shape and innermost_support(law.p) is constraints.nonnegative_integer:
        num = law.p.event_shape.numel()
        return _combinations(law, [torch.arange(int(MOST_STATES ** (1 / num)))] * num)
    if sizes := _sizes_of_columns(law.p):
        return _combinations(law, [torch.arange(size) for size in sizes])
    if low is None or law.p.event_shape:
        raise ValueError(
            f"{type(law.p).__name__} must say what its values are; its support is {support}. Define enumerate_support, or make it "
            "univariate and take constraints.integer_interval or nonnegative_integer."
        )
    high = getattr(support, "upper_bound", None)
    top = int(high) if high is not None else min(MOST_STATES, int(8 * draws.max() + 400))
    return torch.arange(int(low), top + 1, dtype=draws.dtype)[:, None].expand(-1, len(law.rows))


def _combinations(law: Law, axes: list[Tensor]) -> Tensor:
    """All combinations ``[N, R, *E]`` of the values of each element."""
    states = torch.cartesian_prod(*axes).double().reshape(-1, 1, *law.p.event_shape)
    return states.expand(-1, len(law.rows), *law.p.event_shape)
