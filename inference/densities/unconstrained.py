"""All latents of a datum as one vector in unconstrained space, where a normal distribution can approximate the posterior."""

import copy
from dataclasses import dataclass
import math
from typing import Any

from pyro.distributions import TorchDistribution, constraints
import torch
from torch import Size, Tensor
from torch.distributions import biject_to
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import Transform

from inference.densities.layout import Latents
from inference.densities.trials import distinct_rows
from pyro_lvm.pair import Batch
from pyro_lvm.sites import Site, element_mask, is_discrete, is_point_mass, support_of
from pyro_lvm.structure import Structure, run_pair

_SEEDS = (0, 1)  # of the runs whose supports are compared
_PERIOD = 2 * math.pi
_BISECTIONS = 12  # by which an edge is found
_SATURATED = 0.5  # change of a coordinate, there and back again, that is more than rounding


class ConstrainedError(ValueError):
    """Raised, with a sentence, if the latents of a pair cannot be one unconstrained vector with a density."""


@dataclass(frozen=True)
class Part:
    """One latent site in the vector.

    Attributes:
        name: Name of the site.
        shape: Shape of its value for one datum.
        free_shape: Shape of its unconstrained value.
        dtype: The dtype of its values.
        transform: Maps unconstrained values to values, or None if they are the same.
        lower: Bound that its values exceed.
        upper: Bound that they stay below.
    """

    name: str
    shape: Size
    free_shape: Size
    dtype: torch.dtype
    transform: Transform | None
    lower: Tensor | float = -math.inf
    upper: Tensor | float = math.inf

    def is_off_edge(self, value: Tensor) -> Tensor:
        """Return which values ``[K, B, *Z]`` lie on no edge of the support, where densities may be infinite, ``[K, B]``."""
        return ((value > self.lower) & (value < self.upper)).reshape(*value.shape[:2], -1).all(2)


class Coordinates:
    r"""All latents of a datum as one unconstrained vector.

    With T the map of :func:`torch.distributions.biject_to` for the supports of the model's latents, the density of v = T^-1(z) is

    .. math:: p(x, v) = p(x, z = T(v)) \, |\det \partial T(v) / \partial v|,

    so that its integral is that of p(x, z), and its posterior is that of z in other coordinates.

    Args:
        parts: The latent sites, in the order of the model.

    Attributes:
        names: Names of the sites.
        dim: Number of unconstrained coordinates, D.
        dtype: The dtype of the least precise latent.
    """

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self.names = tuple(part.name for part in parts)
        self.parts, self.sizes = parts, [part.free_shape.numel() for part in parts]
        self.dim = sum(self.sizes)
        self.dtype = min((part.dtype for part in parts), key=lambda dtype: torch.finfo(dtype).bits)

    def vector(self, latents: Latents) -> Tensor:
        """Return latents ``[K, B, *Z]`` by site as float64 vectors ``[K, B, D]``; not finite outside of supports and on edges."""
        return torch.cat([_free(part, latents[part.name]) for part in self.parts], dim=2)

    def are_inside(self, vector: Tensor) -> Tensor:
        """Return which vectors ``[K, B, D]`` have latents strictly inside of their spaces, ``[K, B]``.

        Far out, rounding puts latents on an edge, and transforms saturate: they have one value for all coordinates beyond.
        """
        inside = vector.isfinite().all(2)
        for part, free in zip(self.parts, vector.split(self.sizes, dim=2), strict=True):
            if part.transform is not None:
                value = part.transform(free.reshape(*vector.shape[:2], *part.free_shape))
                back = part.transform.inv(value).reshape(free.shape)
                is_known = ((back - free).abs() < _SATURATED) & _free(part, value.to(part.dtype)).isfinite()
                inside = inside & is_known.all(2)
        return inside

    def pulled_inside(self, vector: Tensor, inside: Tensor, centre: Tensor) -> Tensor:
        """Return vectors ``[K, B, D]``; those not inside are pulled to the last ones that are, on the way from centres ``[B, D]``."""
        start, end = centre.expand_as(vector)[~inside][None], vector[~inside][None]  # [1, O, D]
        least, most = (value.new_full((1, value.shape[1], 1), share) for value, share in ((end, 0.0), (end, 1.0)))
        for _ in range(_BISECTIONS):
            middle = (least + most) / 2
            is_inside = self.are_inside(start + middle * (end - start))[..., None]
            least, most = torch.where(is_inside, middle, least), torch.where(is_inside, most, middle)
        pulled = vector.clone()
        pulled[~inside] = (start + least * (end - start))[0]
        return pulled

    def latents(self, vector: Tensor) -> tuple[Latents, Tensor]:
        """Return vectors ``[K, B, D]`` as latents ``[K, B, *Z]`` by site, and log |det dT/dv|, shape ``[K, B]``."""
        values, total = {}, vector.new_zeros(vector.shape[:2])
        for part, free in zip(self.parts, vector.split(self.sizes, dim=2), strict=True):
            value = free = free.reshape(*vector.shape[:2], *part.free_shape)
            if part.transform is not None:
                value = part.transform(free)
                total = total + part.transform.log_abs_det_jacobian(free, value).reshape(*vector.shape[:2], -1).sum(2)
            values[part.name] = value.to(part.dtype)
        return values, total  # [K, B, *Z], [K, B]


def coordinates(pair: object, batch: Batch, structure: Structure) -> Coordinates:
    """Find the unconstrained coordinates of a pair's latents.

    Args:
        pair: Any pair that has been checked.
        batch: All data.
        structure: The structure of the pair.

    Raises:
        ConstrainedError: If a latent is discrete and drawn, has a single value with certainty, is masked, is periodic, or lies in a space
            that has no unconstrained coordinates, or in one that depends on the datum or on other latents.
    """
    if not structure.latents:
        raise ConstrainedError("every latent is summed out")
    rows = batch if structure.row_parameters else distinct_rows(batch)
    runs = [run_pair(pair, rows, validate=False, seed=seed) for seed in _SEEDS]
    return Coordinates(tuple(_part([run.model[name] for run in runs], runs[0].guide[name]) for name in structure.latents))


def _part(sites: list[Site], drawn: Site) -> Part:
    """Return the coordinates of one latent from its site in several runs of the model, and in the guide."""
    site, fn = sites[0], sites[0]["fn"]
    name = f"latent '{site['name']}'"
    if is_discrete(fn):
        raise ConstrainedError(f"{name} is discrete and drawn")
    if is_point_mass(site):
        raise ConstrainedError(f"{name} has one value with certainty in the model")
    if element_mask(site) is not None or element_mask(drawn) is not None:
        raise ConstrainedError(f"{name} is masked")
    support = _fixed(sites)
    if _is_periodic(site):
        raise ConstrainedError(f"{name} is periodic")
    shape, dtype = site["value"].shape[1:], site["value"].dtype
    if _is_whole_space(support):
        return Part(site["name"], shape, shape, dtype, None)
    try:
        transform = biject_to(support)
    except NotImplementedError as error:
        raise ConstrainedError(f"{name} lies in {support}, which has no unconstrained coordinates") from error
    return Part(site["name"], shape, Size(transform.inverse_shape(shape)), dtype, transform, *_bounds(support))


def _bounds(support: Any) -> tuple[Tensor | float, Tensor | float]:
    """Return what all elements of a support's values exceed, and what they stay below, inside of it."""
    while isinstance(support, type(constraints.independent(constraints.real, 1))):
        support = support.base_constraint
    lower = 0.0 if support is constraints.simplex else getattr(support, "lower_bound", -math.inf)
    return lower, getattr(support, "upper_bound", math.inf)


def _free(part: Part, value: Tensor) -> Tensor:
    """Return a latent's values ``[K, B, *Z]`` as unconstrained ones ``[K, B, d]``."""
    if part.transform is None:
        return value.double().reshape(*value.shape[:2], -1)
    free = part.transform.inv(value.double()).reshape(*value.shape[:2], -1)
    return free.where(part.is_off_edge(value)[..., None], torch.nan)


def _is_whole_space(support: Constraint) -> bool:
    while isinstance(support, type(constraints.independent(constraints.real, 1))):
        support = support.base_constraint
    return support is constraints.real or support is constraints.real_vector


def _fixed(sites: list[Site]) -> Constraint:
    """Return a site's support, the same for all data and draws.

    Raises:
        ConstrainedError: If it is unknown, or depends on either of them.
    """
    supports = [support_of(site["fn"]) for site in sites]
    if supports[0] is None:
        raise ConstrainedError(f"the support of latent '{sites[0]['name']}' is unknown")
    size = len(sites[0]["value"])
    try:
        first, second = (_without_rows(support, size) for support in supports)
    except ValueError:
        first, second = supports[0], None
    if second is None or not _are_alike(first, second):
        raise ConstrainedError(f"the support of latent '{sites[0]['name']}' depends on the datum or on other latents")
    return first


def _without_rows(support: Any, size: int) -> Any:
    """Return a support whose bounds, if they are tensors ``[B, ...]``, have lost the dimension of the data.

    Raises:
        ValueError: If they differ among the data.
    """
    if isinstance(support, constraints.MixtureSameFamilyConstraint):
        return _without_rows(support.base_constraint, size)
    if hasattr(support, "reinterpreted_batch_ndims"):
        return constraints.independent(_without_rows(support.base_constraint, size), support.reinterpreted_batch_ndims)
    tensors = {name: value for name, value in vars(support).items() if isinstance(value, Tensor)}
    if not tensors:
        return support
    fixed = copy.copy(support)
    for name, value in tensors.items():
        if value.dim() > 0 and len(value) == size:
            if not torch.equal(value, value[:1].expand_as(value)):
                raise ValueError(name)
            value = value[0]
        setattr(fixed, name, value)
    return fixed


def _are_alike(first: Any, second: Any) -> bool:
    if hasattr(first, "reinterpreted_batch_ndims") and hasattr(second, "reinterpreted_batch_ndims"):
        return _are_alike(first.base_constraint, second.base_constraint)
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return type(first) is type(second) and all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs)


def _is_periodic(site: Site) -> bool:
    """Return whether a density is the same one turn further on in some coordinate, as on a circle.

    Torch declares the support of such densities real, over which their integral is not one but infinite.
    """
    fn: TorchDistribution = site["fn"]
    if not _is_whole_space(support_of(fn) or constraints.real):
        return False
    value = site["value"]
    expected = fn.log_prob(value)
    for place in range(value[0].numel()):
        moved = value.clone().reshape(len(value), -1)
        moved[:, place] += _PERIOD
        if torch.allclose(fn.log_prob(moved.reshape(value.shape)), expected, rtol=0.0, atol=1e-4) and _varies(fn, value, place):
            return True
    return False


def _varies(fn: TorchDistribution, value: Tensor, place: int) -> bool:
    """Return whether a density changes within a turn, unlike one that hardly depends on the coordinate."""
    moved = value.clone().reshape(len(value), -1)
    moved[:, place] += _PERIOD / 2
    return not torch.allclose(fn.log_prob(moved.reshape(value.shape)), fn.log_prob(value), rtol=0.0, atol=1e-3)
