"""Reasons why a pair has no likelihood per datum, although it can be trained."""

from collections.abc import Callable, Iterable

import pyro.distributions as dist

from pyro_lvm.sites import Site, frames_of, is_discrete, is_point_mass, plate_names, space


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


def _num_elements(sites: list[Site]) -> int:
    return sum(site["fn"].event_shape.numel() for site in sites)
