"""Kinds of sites: what a sample statement of a program declares, read off its trace."""

import pyro
from pyro import poutine
import pyro.distributions as dist
from pyro.distributions import constraints
from pyro.poutine.util import site_is_subsample
import torch
from torch import Tensor
from torch.distributions.constraints import Constraint


def penalty(name: str, value: Tensor) -> None:
    r"""Declares, in a model, a term that steers training only: the objective gains ``-value``, no likelihood ever sees it.

    Args:
        name: Name of the site.
        value: Cost in nats for each datum, shape ``[B]``, inside the data plate.
    """
    unit = dist.Unit(-value, has_rsample=True)
    pyro.sample(name, unit, obs=value.new_empty(value.shape + (0,)), infer={"is_penalty": True})


def is_penalty(site: dict) -> bool:
    """Whether a trace's site was declared by :func:`penalty`."""
    return bool(site["infer"].get("is_penalty"))


def is_data(site: dict) -> bool:
    """Whether a trace's site observes data: not a penalty, a factor or a deterministic value."""
    return site["is_observed"] and not site["infer"].get("_deterministic") and not isinstance(site["fn"], dist.Unit)


def sample_sites(trace: poutine.Trace) -> list[dict]:
    """The sample sites of a trace, latent, observed and penalties, without the bookkeeping sites of plates."""
    return [site for site in trace.nodes.values() if site["type"] == "sample" and not site_is_subsample(site)]


def density_sites(trace: poutine.Trace) -> list[dict]:
    """The sample sites whose log densities make up a likelihood."""
    return [site for site in sample_sites(trace) if not is_penalty(site)]


def space(fn: dist.Distribution) -> str:
    """Where a distribution has its density: on the ``"simplex"``, the ``"sphere"`` or the ``"whole space"``."""
    support = innermost_support(fn)
    return {id(constraints.simplex): "simplex", id(constraints.sphere): "sphere"}.get(id(support), "whole space")


def is_point_mass(site: dict) -> bool:
    """Whether a site's value is certain."""
    return isinstance(innermost(site["fn"]), dist.Delta)


def in_data_plate(site: dict, size: int) -> bool:
    """Whether a site lies in a plate of this size at dim -1."""
    return any(frame.vectorized and frame.dim == -1 and frame.size == size for frame in site["cond_indep_stack"])


def is_deterministic(site: dict) -> bool:
    """Whether a site was declared by ``pyro.deterministic``."""
    return bool(site["infer"].get("_deterministic"))


def innermost(fn: dist.Distribution) -> dist.Distribution:
    """The distribution inside all that only reshapes, expands, masks or transforms it."""
    while isinstance(getattr(fn, "base_dist", None), torch.distributions.Distribution):
        fn = fn.base_dist
    return fn


def innermost_support(fn: dist.Distribution) -> Constraint | None:
    """The constraint on one element of a value, inside those on its dimensions; None if it is not known."""
    support = support_of(fn)
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def support_of(fn: dist.Distribution) -> Constraint | None:
    """The support of a distribution, or None if it does not know it."""
    try:
        return fn.support
    except NotImplementedError:
        return None


def is_discrete(fn: dist.Distribution) -> bool:
    """Whether a distribution gives masses, not densities."""
    support = support_of(fn)
    return support is not None and bool(support.is_discrete)
