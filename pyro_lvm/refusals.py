"""Reasons why a pair has no likelihood per datum, although it can be trained."""

from collections.abc import Callable, Iterable
from math import prod
from typing import NamedTuple

import pyro
from pyro import poutine
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_lvm.modules import Watch
from pyro_lvm.pair import Batch, programs
from pyro_lvm.scopes import isolated
from pyro_lvm.sites import Site, frames_of, innermost, is_discrete, is_point_mass, plate_names, sites_of, space

_SEEDS = 271828, 314159  # of two runs with other latents
_FEW = 32  # rows that show how values depend on latents
_SHIFT = 0.125  # of data, relative to their largest value


class ComputedValues(NamedTuple):
    """Observed values that a model computes.

    Attributes:
        moving: Names of the sites whose values depend on latents, or are drawn anew in every run.
        random: Those that are drawn anew at the same latents, too, as noise is that the model adds to data.
        shifted: Those with elements that depend on the data as well, so that their draws are none of data.
        scaled: Those that change by another amount with the data if the latents are others, so that their density is none of the data.
    """

    moving: set[str]
    random: set[str]
    shifted: set[str]
    scaled: set[str]


def computed_values(pair: object, batch: Batch, names: list[str]) -> ComputedValues:
    r"""Find out how values that the model computes and observes depend on data and latents.

    The density of a value v(x, z) is one of the data x but for the factor :math:`\lvert \partial v / \partial x \rvert`, which must not
    depend on z: v(x + a, z) - v(x, z) is the same at all z, as for a residual x - z, and where missing elements of x are latents.

    Args:
        pair: Any pair that has run on the batch.
        batch: Any batch.
        names: The sites whose values the model computes.
    """
    if not names:
        return ComputedValues(set(), set(), set(), set())
    try:
        return _on_rows(pair, tuple(x[:_FEW] for x in batch), names)
    except Exception:  # a program may raise any error on rows for which it is not made
        return _on_rows(pair, batch, names)


def _on_rows(pair: object, batch: Batch, names: list[str]) -> ComputedValues:
    with isolated(pair), torch.random.fork_rng(), torch.no_grad(), pyro.validation_enabled(False), Watch(pair):
        runs = [_values_at(pair, batch, names, seed) for seed in _SEEDS]
        first, again, second = (values(batch) for values in (runs[0], *runs))
        moves = {name: ~_are_close(first[name], second[name]) for name in names}
        random = {name for name in names if not bool(_are_close(first[name], again[name]).all())}
        moving = {name for name in names if bool(moves[name].any())}
        others = [found for rows in _shifted(batch) if (found := _tried(runs, rows))] if moving - random else []
    shifted, scaled = set(), set()
    for name in moving - random:
        changes = [(a[name] - first[name], b[name] - second[name]) for a, b in others]
        changes = [each for each in changes if any(bool((moves[name] & (change.nan_to_num() != 0)).any()) for change in each)]
        shifted |= {name} if changes else set()
        scaled |= {name} if changes and not any(bool(_are_close(*each).all()) for each in changes) else set()
    return ComputedValues(moving | random, random, shifted, scaled)


def _values_at(pair: object, batch: Batch, names: list[str], seed: int) -> Callable[[Batch], dict[str, Tensor]]:
    """Return a function from the batch to the observed values at the latents of one run."""
    model, guide = programs(pair)
    torch.manual_seed(seed)
    drawn = poutine.trace(guide).get_trace(*batch)
    both = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(*batch)  # also what the guide leaves out

    def values(rows: Batch) -> dict[str, Tensor]:
        sites = sites_of(poutine.trace(poutine.replay(model, trace=both)).get_trace(*rows))
        return {name: sites[name]["value"].double() for name in names}

    return values


def _tried(runs: list[Callable[[Batch], dict[str, Tensor]]], rows: Batch) -> list[dict[str, Tensor]]:
    try:
        return [values(rows) for values in runs]
    except Exception:  # a program may raise any error at numbers for which it is not made
        return []


def _shifted(batch: Batch) -> list[Batch]:
    """Return the batch with one argument shifted, for each that holds numbers, and not masks or indicators."""
    places = [i for i, x in enumerate(batch) if x.is_floating_point() and not bool(((x == 0) | (x == 1)).all())]
    return [(*batch[:i], batch[i] + _SHIFT * batch[i].nan_to_num().abs().max(), *batch[i + 1 :]) for i in places]


def _are_close(first: Tensor, second: Tensor) -> Tensor:
    return torch.isclose(first, second, rtol=1e-3, atol=1e-5, equal_nan=True)


def value_refusal(values: ComputedValues) -> str | None:
    """Return why values that the model computes have no density of the data, or None if they have one."""
    if values.random:
        return (
            f"site '{min(values.random)}' observes a value that the model draws anew in every run, such as data with noise: there is no "
            "one density of the data. Draw it outside of the model, as fit(transform=torch.bernoulli) does, and score data that stay as "
            "they are."
        )
    if values.scaled:
        return (
            f"site '{min(values.scaled)}' observes a value that the model computes from data and latents, by more than a shift: its "
            "density is not that of the data, which has the Jacobian's determinant as a factor. Observe the data as they are, obs=x, under "
            "the distribution that they then have, such as dist.Normal(loc, scale) instead of (x - loc) / scale under dist.Normal(0, 1)."
        )
    return None


def refusal_of(
    size: int, plates: set[str], sites: list[Site], latents: dict[str, Site], enumerated: list[Site], guide_sites: dict[str, Site]
) -> str | None:
    """Return the first reason why a pair has no likelihood per datum, or None.

    Args:
        size: Number of data, B.
        plates: Names of the plates of data.
        sites: All sample sites of model and guide.
        latents: The model's sites of the latents that the guide samples, by name.
        enumerated: The model's sites of the latents that are summed out.
        guide_sites: The guide's sites by name.
    """
    continuous = [name for name, site in latents.items() if not is_discrete(site["fn"])]
    reasons: tuple[Callable[[], str | None], ...] = (
        lambda: _plate_refusal(size, plates, sites),
        lambda: _enumeration_refusal(enumerated),
        lambda: _guide_refusal(continuous, guide_sites),
        lambda: _rounding_refusal(guide_sites.values()),
        lambda: _space_refusal(latents, guide_sites),
        lambda: _improper_refusal(latents),
    )
    return next((reason for reason in (each() for each in reasons) if reason), None)


def _plate_refusal(size: int, plates: set[str], sites: list[Site]) -> str | None:
    for site in sites:
        if not plates & plate_names(site):
            return _outside(site, size)
        extra = [frame.name for frame in frames_of(site) if frame.dim != -1]
        if extra:
            return (
                f"site '{site['name']}' is inside a second plate '{extra[0]}': a likelihood per datum needs one plate. "
                "Declare that dimension as an event dimension with .to_event(n)."
            )
    return None


def _outside(site: Site, size: int) -> str:
    """Say why a site is not in a plate of the data."""
    name, needed = site["name"], f"a likelihood per datum needs every site inside one plate of size {size} at dim -1"
    for frame in site["cond_indep_stack"]:
        if not frame.vectorized:
            return (
                f"site '{name}' is inside the sequential plate '{frame.name}' (for i in pyro.plate(...)): {needed}. Write "
                "`with pyro.plate('data', len(x))` instead of a loop over data."
            )
        if frame.size == size and frame.dim != -1:
            return (
                f"site '{name}' is inside a plate '{frame.name}' of size {size} at dim {frame.dim}: {needed}. Give the data plate dim=-1, "
                "and declare the dimensions of other plates as event dimensions with .to_event(n)."
            )
        if frame.dim == -1 and frame.size < frame.full_size == size:
            return (
                f"site '{name}' is inside the plate '{frame.name}', which chooses {frame.size} of the {size} rows by itself: {needed}. "
                f"Write pyro.plate('{frame.name}', N, subsample_size=len(x)), and give batches, as fit(batch_size={frame.size}) does."
            )
    return (
        f"site '{name}' lies outside the data plate: {needed}. Move it into `with pyro.plate('data', len(x))`, or make it a parameter. "
        "Latents that all data share can be fitted with all N data as one batch, batch_size=N, or in batches if the plate declares the "
        "data, pyro.plate('data', N, subsample_size=len(x))."
    )


def _enumeration_refusal(enumerated: list[Site]) -> str | None:
    for site in enumerated:
        if isinstance(site["fn"], dist.MaskedDistribution):
            return (
                f"site '{site['name']}' has a masked distribution and is enumerated, so there is no likelihood per datum: where it is "
                "masked, the sum over its values counts every value once. Use poutine.mask, which leaves such sums at one."
            )
    return None


def _guide_refusal(continuous: list[str], guide_sites: dict[str, Site]) -> str | None:
    """Return why the guide has no density: a point mass has one only as the image of auxiliary draws of the same dimension."""
    auxiliary = [s for s in guide_sites.values() if s["infer"].get("is_auxiliary") and not s["is_observed"]]
    point_masses = [guide_sites[name] for name in continuous if is_point_mass(guide_sites[name])]
    if _num_elements(auxiliary) == _num_elements(point_masses):
        return None
    if not auxiliary:
        return (
            f"the guide puts a point mass (Delta) on the continuous latent '{point_masses[0]['name']}': the ELBO then depends on the "
            "units of the latent and is not a bound. Use a guide with a density, such as Normal."
        )
    return (
        f"the guide's auxiliary sites {[s['name'] for s in auxiliary]} must have as many elements as the latents that they determine; "
        f"got {_num_elements(auxiliary)} for {_num_elements(point_masses)}. Sample the latents directly."
    )


def _rounding_refusal(sites: Iterable[Site]) -> str | None:
    """Return why a latent has no density at its value: Pyro keeps what it was before rounding as an attribute, of which no copy knows."""
    for site in sites:
        if hasattr(site["value"], "_unquantize"):
            return (
                f"the draws of latent '{site['name']}' are rounded, and their density is that of the values before, which are no part of "
                "them. Sample it from dist.RelaxedBernoulli or dist.RelaxedOneHotCategorical, and round it in the model: "
                "z.round() + z - z.detach()."
            )
    return None


def _space_refusal(latents: dict[str, Site], guide_sites: dict[str, Site]) -> str | None:
    """Return why prior and guide have no density ratio: on the simplex or the sphere, densities have one dimension fewer."""
    for name, site in latents.items():
        if is_point_mass(guide_sites[name]):
            continue
        prior, posterior = (space(fn) for fn in (site["fn"], guide_sites[name]["fn"]))
        if prior != posterior:
            return (
                f"site '{name}': prior and guide must be densities on the same space; the prior lives on the {prior}, the guide on the "
                f"{posterior}. Choose a prior and an encoder of the same kind."
            )
    return None


def _improper_refusal(latents: dict[str, Site]) -> str | None:
    """Return why there is no p(x): of a prior without an integral, it has none either."""
    improper = [name for name, site in latents.items() if isinstance(innermost(site["fn"]), dist.ImproperUniform)]
    if not improper:
        return None
    return f"site '{improper[0]}' has an improper prior, so that p(x) is no density. Give it a proper one, such as a wide Normal."


def _num_elements(sites: list[Site]) -> int:
    return sum(prod(site["fn"].event_shape) for site in sites)
