"""Kinds of sites: what the sample statements of a program declare, according to its trace."""

from collections.abc import Callable
from functools import reduce
from math import prod
from typing import Any

import pyro
from pyro import poutine
import pyro.distributions as dist
from pyro.distributions import TorchDistribution, constraints
from pyro.distributions.util import scale_and_mask, sum_rightmost
from pyro.poutine.util import site_is_subsample
import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

Site = dict[str, Any]  # a node of a trace, or the message that becomes one

is_subsample: Callable[[Site], bool] = site_is_subsample  # type: ignore[assignment]  # Pyro's type of a site is a TypedDict


def penalty(name: str, value: Tensor) -> None:
    r"""Declare, in a model, a term that affects only training: the objective gains ``-value``, and likelihoods are unaffected.

    Args:
        name: Name of the site.
        value: Cost in nats for each datum, shape ``[B]``, inside the data plate.
    """
    unit, nothing = dist.Unit(-value, has_rsample=True), value.new_empty(value.shape + (0,))
    pyro.sample(name, unit, obs=nothing, infer={"is_penalty": True})  # type: ignore[arg-type]  # Pyro's type allows only its own keys


def is_penalty(site: Site) -> bool:
    """Return whether a site was declared by :func:`penalty`."""
    return bool(site["infer"].get("is_penalty"))


def is_data(site: Site) -> bool:
    """Return whether a site observes data; a penalty, a factor or a deterministic value does not."""
    return site["is_observed"] and not is_deterministic(site) and not is_factor(site)


def is_factor(site: Site) -> bool:
    """Return whether a site is a factor: a term of a log density without a value of its own."""
    return isinstance(innermost(site["fn"]), dist.Unit)


def sites_of(trace: poutine.Trace) -> dict[str, Site]:
    """Return all sites of a trace by name."""
    nodes: Any = trace.nodes
    return nodes


def sample_sites(trace: poutine.Trace) -> list[Site]:
    """Return the sample sites of a trace: latents, observations and penalties, but not the internal sites of plates."""
    return [site for site in sites_of(trace).values() if site["type"] == "sample" and not is_subsample(site)]


def density_sites(trace: poutine.Trace) -> list[Site]:
    """Return the sample sites whose log densities make up a likelihood: no penalties, and no deterministic values."""
    return [site for site in sample_sites(trace) if not is_penalty(site) and not is_deterministic(site)]


def space(fn: TorchDistribution) -> str:
    """Return the space on which a distribution has its density: ``"simplex"``, ``"sphere"`` or ``"whole space"``."""
    support = innermost_support(fn)
    return {id(constraints.simplex): "simplex", id(constraints.sphere): "sphere"}.get(id(support), "whole space")


def is_point_mass(site: Site) -> bool:
    """Return whether a site has a single value with certainty."""
    return isinstance(innermost(site["fn"]), dist.Delta)


def plate_names(site: Site, size: int | None = None) -> set[str]:
    """Return the names of the vectorized plates around a site at dim -1; with a size, only of those that have it or declare none."""
    return {frame.name for frame in frames_of(site) if frame.dim == -1 and (size is None or frame.size in (size, -1))}


def plate_weight(site: Site) -> float:
    """Return the weight that the plates around a site give it: how many data they declare for each that they are given."""
    return prod(frame.full_size / frame.size for frame in frames_of(site) if frame.size > 0 and (frame.full_size or 0) > 0)


def frames_of(site: Site) -> list[Any]:
    """Return the vectorized plates around a site; a plate without a declared size has size -1."""
    return [frame for frame in site["cond_indep_stack"] if frame.vectorized]


def masked_log_prob(site: Site) -> Tensor:
    """Return a site's log density, zero where the site is masked and minus infinity outside its support.

    Torch does not promise a density of zero outside a support. So a support with bounds is checked for latents, which a guide may draw
    outside it, and where the bounds are tensors, which may depend on latents; other data were checked before.

    A mask has no effect on a site that is summed out, whose sum is one where it is masked, as in Pyro's own objectives.
    """
    value, fn = site["value"], site["fn"]
    log_prob = fn.log_prob(value, *site["args"], **site["kwargs"])
    is_drawn = not site["is_observed"] and site["infer"].get("_enumerate_dim") is None
    if bound_tensors(fn) or (is_drawn and _has_bounds(fn)):
        log_prob = log_prob.masked_fill(~fn.support.check(value), -torch.inf)
    return scale_and_mask(log_prob, mask=None if site["infer"].get("_enumerate_dim") is not None else site["mask"])


def knows_any_density(site: Site) -> bool:
    """Return whether a site's density is known at any value; where a map without an inverse makes draws, it is at these only."""
    try:
        site["fn"].log_prob(site["value"].clone())
    except (KeyError, NotImplementedError):  # of Pyro's transforms and of torch's
        return False
    return True


def _has_bounds(fn: TorchDistribution) -> bool:
    support = innermost_support(fn)
    return hasattr(support, "lower_bound") or hasattr(support, "upper_bound")


def bound_tensors(fn: TorchDistribution) -> list[Tensor]:
    """Return the bounds of a distribution's support that are tensors, and may depend on other sites."""
    support = innermost_support(fn)
    return [] if support is None else [value for value in vars(support).values() if isinstance(value, Tensor)]


def element_mask(site: Site) -> Tensor | None:
    """Return which elements of a site's value count, in a shape that broadcasts to the value's, or None if all of them do."""
    fn, mask, num_event = site["fn"], site["mask"], len(site["fn"].event_shape)
    found = [] if mask is None else [_expanded(mask, num_event)]
    while isinstance(getattr(fn, "base_dist", None), torch.distributions.Distribution):
        if isinstance(fn, dist.MaskedDistribution):
            found.append(_expanded(fn._mask, len(fn.event_shape)))
        fn = fn.base_dist
    found += [~site["value"].isnan()] if skips_missing(fn) else []
    return reduce(torch.logical_and, found) if found else None


def skips_missing(fn: TorchDistribution) -> bool:
    """Return whether a distribution takes NaN for a missing element, which has no density, as that of a table's columns does."""
    return bool(getattr(innermost(fn), "skips_missing", False))


def _expanded(mask: Tensor | bool, num_event: int) -> Tensor:
    mask = torch.as_tensor(mask)
    return mask[(..., *[None] * num_event)]


def is_deterministic(site: Site) -> bool:
    """Return whether a site was declared by ``pyro.deterministic``, or computed from other sites by a reparameterization of Pyro."""
    fn = site["fn"]
    return bool(site["infer"].get("_deterministic")) or (
        isinstance(fn, dist.MaskedDistribution) and fn._mask is False and is_point_mass(site)
    )


def innermost(fn: TorchDistribution) -> TorchDistribution:
    """Return the base distribution, inside all wrappers that reshape, expand, mask or transform it."""
    while isinstance(getattr(fn, "base_dist", None), torch.distributions.Distribution):
        fn = fn.base_dist
    return fn


def innermost_support(fn: TorchDistribution) -> Constraint | None:
    """Return the constraint on a single element of a value, inside those on its dimensions, or None if it is unknown."""
    support = support_of(fn)
    while support is not None and hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def support_of(fn: TorchDistribution) -> Constraint | None:
    """Return the support of a distribution, or None if it is unknown."""
    try:
        return fn.support
    except NotImplementedError:
        return None


def num_values(fn: TorchDistribution) -> int:
    """Return how many values each element of a draw from a distribution of codes can have."""
    support: Any = innermost_support(fn)
    return getattr(fn, "num_codes", None) or int(support.upper_bound) + 1


def is_discrete(fn: TorchDistribution) -> bool:
    """Return whether a distribution has masses instead of densities."""
    support = support_of(fn)
    return support is not None and bool(support.is_discrete)


def measure_of(fn: TorchDistribution) -> str:
    """Return whether a distribution has masses (``"mass"``), densities (``"density"``), or both for parts of a value (``"mixed"``)."""
    return getattr(innermost(fn), "measure", "mass" if is_discrete(fn) else "density")


def num_elements(site: Site) -> Tensor:
    """Return how many elements of a site's value count in its log density, for each entry of its batch shape; masked ones do not."""
    fn, value = site["fn"], site["value"]
    if skips_missing(fn):
        observed = torch.as_tensor(element_mask(site)).expand(torch.broadcast_shapes(value.shape, fn.batch_shape + fn.event_shape))
        return sum_rightmost(observed.long(), len(fn.event_shape))
    counts = _num_elements(fn)
    counts = counts.expand(torch.broadcast_shapes(counts.shape, value.shape[: value.dim() - len(fn.event_shape)]))
    return counts if site["mask"] is None else counts * torch.as_tensor(site["mask"], device=counts.device)


def _num_elements(fn: Any) -> Tensor:
    if isinstance(fn, dist.MaskedDistribution):
        mask = torch.as_tensor(fn._mask)
        return _num_elements(fn.base_dist).to(mask.device) * mask
    if isinstance(fn, torch.distributions.Independent):
        return sum_rightmost(_num_elements(fn.base_dist), fn.reinterpreted_batch_ndims)
    if isinstance(fn, dist.ExpandedDistribution):
        return _num_elements(fn.base_dist).expand(fn.batch_shape)
    return torch.full(fn.batch_shape, prod(fn.event_shape))  # not numel(): the shape of some of Pyro's distributions is a tuple
