"""The contract of a pair, checked by running it once on a batch; every error names the site and the remedy."""

from dataclasses import dataclass
from math import prod

import pyro
from pyro import poutine
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_lvm.pair import param_scope, programs
from pyro_lvm.sites import (
    density_sites,
    in_data_plate,
    innermost,
    is_data,
    is_deterministic,
    is_discrete,
    is_penalty,
    is_point_mass,
    sample_sites,
    space,
    support_of,
)


@dataclass(frozen=True)
class Structure:
    """What a pair declares, read off one run of its programs.

    Attributes:
        latents: Latent sites that the guide samples.
        enumerated: Discrete latents that are summed out.
        num_states: How many values they have together.
        observed: Observed sites.
        global_sites: Sample sites outside the data plate.
        full_size: The number of data that the data plate declares; B unless it subsamples.
        measure: ``"mass"``, ``"density"`` or ``"mixed"``, from the supports of the observed sites.
        is_deterministic: Whether the guide gives every latent one certain value.
        refusal: Why the pair has no likelihood per datum, or None.
    """

    latents: tuple[str, ...]
    enumerated: tuple[str, ...]
    num_states: int
    observed: tuple[str, ...]
    global_sites: tuple[str, ...]
    full_size: int
    measure: str
    is_deterministic: bool
    refusal: str | None

    @property
    def is_exact(self) -> bool:
        """Whether every latent is summed out, so that log p(x) needs no draws."""
        return not self.latents


def check_batch(*batch: Tensor) -> int:
    """The number of data in a batch, after checking that its tensors agree and are finite.

    Raises:
        TypeError: If an argument is no tensor.
        ValueError: If the batch is empty, its lengths differ, or it holds NaN or infinite values.
    """
    if not batch:
        raise ValueError("a batch must hold at least one tensor [B, *X]; got none.")
    for i, tensor in enumerate(batch):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"argument {i} of the batch must be a torch.Tensor; got {type(tensor).__name__}.")
        if tensor.dim() == 0 or len(tensor) == 0:
            raise ValueError(f"argument {i} of the batch must have at least one row; got {tuple(tensor.shape)}.")
        if len(tensor) != len(batch[0]):
            raise ValueError(
                f"all tensors of a batch must have as many rows as the first, {len(batch[0])}; argument {i} has {len(tensor)}."
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            bad = int((~tensor.isfinite()).reshape(len(tensor), -1).any(1).sum())
            raise ValueError(
                f"argument {i} of the batch must be finite; {bad} of {len(tensor)} rows hold NaN or infinite values. "
                "Remove or impute those rows."
            )
    return len(batch[0])


def check_support(site: dict) -> None:
    """Checks that an observed site's data lie in the support of its distribution.

    Raises:
        ValueError: If they do not; names the site, the support and the range of the data.
    """
    value, support = site["value"], support_of(site["fn"])
    if support is None or not isinstance(value, Tensor) or value.numel() == 0:
        return
    if not bool(support.check(value).all()):
        raise ValueError(
            f"site '{site['name']}': data must lie in the support {support} of {innermost(site['fn'])}; got values from "
            f"{value.min().item():g} to {value.max().item():g}. Transform the data (for instance binarize it) or use another likelihood."
        )


def check_pair(pair: object, *batch: Tensor) -> Structure:
    """Runs a pair once on a batch and checks the contract of a pair.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``.
        batch: ``[B, *X]`` first, then whatever else the programs take, batch-first.

    Returns:
        What the pair declares. A pair without a likelihood per datum has a ``refusal``; it may still be trained.

    Raises:
        ValueError: If the batch is empty or not finite, if the guide misses a latent or samples a stranger, if event
            dimensions disagree, or if data lie outside their support. Names the site and the remedy.
    """
    structure, observed = _read(pair, batch)
    for site in observed:
        check_support(site)
    return structure


def read_structure(pair: object, *batch: Tensor) -> Structure:
    """As :func:`check_pair`, but the batch stands for its shape only: its values need not lie in any support."""
    return _read(pair, batch)[0]


def _read(pair: object, batch: tuple[Tensor, ...]) -> tuple[Structure, list[dict]]:
    size = check_batch(*batch)
    guide_trace, model_trace = _traces(pair, batch)
    guide_sites = {site["name"]: site for site in density_sites(guide_trace)}
    model_sites = {site["name"]: site for site in density_sites(model_trace)}
    latents = {name: site for name, site in model_sites.items() if not site["is_observed"]}
    enumerated = {n for n, site in latents.items() if n not in guide_sites and site["infer"].get("enumerate") == "parallel"}
    sampled = [name for name in latents if name not in enumerated]
    observed = [site for site in model_sites.values() if is_data(site)]
    _check_names(sampled, guide_sites, latents, observed)
    _check_penalties(guide_trace)
    for name in sampled:
        _check_event_dims(name, latents[name]["fn"], guide_sites[name]["fn"])
    sites = [site for site in (*model_sites.values(), *guide_sites.values()) if not is_deterministic(site)]
    random = [site for site in guide_sites.values() if not site["is_observed"] and not is_point_mass(site)]
    structure = Structure(
        latents=tuple(sampled),
        enumerated=tuple(sorted(enumerated)),
        num_states=prod(len(latents[name]["fn"].enumerate_support(expand=False)) for name in enumerated),
        observed=tuple(site["name"] for site in observed),
        global_sites=tuple(dict.fromkeys(site["name"] for site in sites if not in_data_plate(site, size))),
        full_size=max((f.full_size or f.size for s in observed for f in s["cond_indep_stack"] if f.dim == -1), default=size),
        measure=_measure(observed),
        is_deterministic=bool(sampled) and not random,
        refusal=(
            _plate_refusal(size, sites)
            or _enumeration_refusal([latents[name] for name in enumerated])
            or _guide_refusal([name for name in sampled if not is_discrete(latents[name]["fn"])], guide_sites)
            or _space_refusal({name: latents[name] for name in sampled}, guide_sites)
        ),
    )
    return structure, observed


def _traces(pair: object, batch: tuple[Tensor, ...]) -> tuple[poutine.Trace, poutine.Trace]:
    model, guide = programs(pair)
    try:
        with torch.random.fork_rng(), torch.no_grad(), pyro.validation_enabled(True), param_scope(pair):
            guide_trace = poutine.trace(guide).get_trace(*batch)
            model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*batch)
    except ValueError as error:
        if "Expected parameter" in str(error):
            raise ValueError(
                f"the pair cannot run on this batch: {str(error).split(', but found')[0]}, and it does not. Look for NaN in its "
                "parameters, or for a scale that is not positive."
            ) from error
        if "Shape mismatch inside plate" not in str(error):
            raise
        raise ValueError(
            f"{error}. A site's batch shape must be the plate's size, {len(batch[0])}: declare the other dimensions as "
            "event dimensions with .to_event(n), and write pyro.plate('data', len(x))."
        ) from error
    return guide_trace, model_trace


def _check_names(sampled: list[str], guide_sites: dict, latents: dict, observed: list[dict]) -> None:
    if not observed:
        raise ValueError("the model must observe the data in at least one site; got none. Pass obs=x to its pyro.sample.")
    for name in sampled:
        if name not in guide_sites:
            raise ValueError(
                f"the guide must sample every latent of the model; it misses '{name}' and samples {sorted(guide_sites)}. "
                f"Add pyro.sample('{name}', ...) to the guide, or mark a discrete site with infer={{'enumerate': 'parallel'}}."
            )
    for name, site in guide_sites.items():
        if name not in latents and not site["is_observed"] and not site["infer"].get("is_auxiliary"):
            raise ValueError(
                f"the guide samples '{name}', which is no latent of the model; its latents are {sorted(latents)}. "
                "Rename the site, or leave it out."
            )


def _check_event_dims(name: str, prior: dist.Distribution, posterior: dist.Distribution) -> None:
    if prior.event_shape != posterior.event_shape:
        raise ValueError(
            f"site '{name}': model and guide must have one event shape; the model has {tuple(prior.event_shape)}, the guide "
            f"{tuple(posterior.event_shape)}. Adapt the sizes, or .to_event(n) on one of them."
        )


def _check_penalties(guide_trace: poutine.Trace) -> None:
    for site in sample_sites(guide_trace):
        if is_penalty(site):
            raise ValueError(
                f"penalty '{site['name']}' must be declared in the model; got it in the guide, whose terms Pyro subtracts. Move it."
            )


def _plate_refusal(size: int, sites: list[dict]) -> str | None:
    for site in sites:
        if not in_data_plate(site, size):
            return (
                f"site '{site['name']}' lies outside the data plate: a likelihood per datum needs every site inside one plate of "
                f"size {size} at dim -1. Move it into `with pyro.plate('data', len(x))`, or make it a parameter."
            )
        extra = [f.name for f in site["cond_indep_stack"] if f.vectorized and f.dim != -1]
        if extra:
            return (
                f"site '{site['name']}' is inside a second plate '{extra[0]}': a likelihood per datum needs one plate. "
                "Declare that dimension as an event dimension with .to_event(n)."
            )
    return None


def _enumeration_refusal(enumerated: list[dict]) -> str | None:
    for site in enumerated:
        if site["mask"] is not None or isinstance(site["fn"], dist.MaskedDistribution):
            return (
                f"site '{site['name']}' is enumerated under a mask, which has no likelihood per datum here: a masked sum over c "
                "counts every value once. Mask the observed site alone."
            )
    return None


def _guide_refusal(continuous: list[str], guide_sites: dict[str, dict]) -> str | None:
    """A point mass has a density only as the image of an auxiliary draw of as many dimensions."""
    auxiliary = [s for s in guide_sites.values() if s["infer"].get("is_auxiliary") and not s["is_observed"]]
    point_masses = [guide_sites[name] for name in continuous if is_point_mass(guide_sites[name])]
    if _num_elements(auxiliary) == _num_elements(point_masses):
        return None
    if not auxiliary:
        return (
            f"the guide puts a point mass (Delta) on the continuous latent '{point_masses[0]['name']}': its value depends on the units "
            "of the latent and is no bound. Use a guide with a density, such as Normal."
        )
    return (
        f"the guide's auxiliary sites {[s['name'] for s in auxiliary]} must have as many elements as the latents that they determine; "
        f"got {_num_elements(auxiliary)} for {_num_elements(point_masses)}. Sample the latents directly."
    )


def _space_refusal(latents: dict[str, dict], guide_sites: dict[str, dict]) -> str | None:
    """Densities on the simplex or the sphere have one dimension less than others: a ratio of the two means nothing."""
    for name, site in latents.items():
        if is_point_mass(guide_sites[name]):
            continue
        prior, posterior = (space(fn) for fn in (site["fn"], guide_sites[name]["fn"]))
        if prior != posterior:
            return (
                f"site '{name}': prior and guide must be densities on one space; the prior lives on the {prior}, the guide on the "
                f"{posterior}. Choose a prior and an encoder of the same kind."
            )
    return None


def _num_elements(sites: list[dict]) -> int:
    return sum(site["fn"].event_shape.numel() for site in sites)


def _measure(observed: list[dict]) -> str:
    kinds = {"mass" if is_discrete(site["fn"]) else "density" for site in observed}
    return kinds.pop() if len(kinds) == 1 else "mixed"
