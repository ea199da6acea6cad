"""Check of a pair's contract by running the pair once on a batch; every error names the site and the remedy."""

from dataclasses import dataclass
from math import prod
from typing import Any

import pyro
from pyro import poutine
import pyro.distributions as dist
from pyro.distributions import TorchDistribution
import torch
from torch import Tensor

from pyro_lvm.pair import Batch, param_scope, programs
from pyro_lvm.reading import read_batch
from pyro_lvm.sites import (
    Site,
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

_LARGEST_INPUT = 10.0  # beyond it, networks that expect numbers near 1 may overflow


@dataclass(frozen=True)
class Structure:
    """Structure of a pair, as declared in one run of its programs.

    Attributes:
        latents: Latent sites that the guide samples.
        enumerated: Discrete latents that are summed out.
        num_states: Number of joint values of the enumerated latents.
        observed: Observed sites.
        global_sites: Sample sites outside the data plate.
        full_size: Number of data that the data plate declares; the batch size B unless the plate subsamples.
        measure: ``"mass"``, ``"density"`` or ``"mixed"``, from the supports of the observed sites.
        is_deterministic: Whether the guide assigns every latent a single value with certainty.
        refusal: Reason why the pair has no likelihood per datum, or None.
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
    """Return the number of data in a batch, after checking that its tensors have the same length and are finite.

    Raises:
        TypeError: If an argument is not a tensor.
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


def check_support(site: Site) -> None:
    """Check that the data of an observed site lie in the support of its distribution.

    Raises:
        ValueError: If they do not. The error names the site, the support and the range of the data.
    """
    value, support = site["value"], support_of(site["fn"])
    if support is None or not isinstance(value, Tensor) or value.numel() == 0:
        return
    if not bool(support.check(value).all()):
        raise ValueError(
            f"site '{site['name']}': data must lie in the support {support} of {innermost(site['fn'])}; got values from "
            f"{value.min().item():g} to {value.max().item():g}. Transform the data (for instance binarize it) or use another likelihood."
        )


def remedy_of_large_data(batch: Batch) -> str | None:
    """Return what to do if data are too large for most networks, or None if they are not."""
    largest = max((float(x.abs().max()) for x in batch if x.dtype != torch.bool), default=0.0)
    if largest <= _LARGEST_INPUT:
        return None
    return (
        f"The data are as large as {largest:g}, which networks may not bear: scale them or, if the likelihood needs them as they are, as "
        "that of bytes from 0 to 255 does, let the encoder's network begin with pyro_lvm.Standardize(train)."
    )


def check_pair(pair: object, *data: Any) -> Structure:
    """Run a pair once on a batch and check that it meets the contract.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``.
        data: Observed batch ``[B, *X]``, then any other arguments of the programs, batch-first: tensors, arrays or tables. Or a Dataset,
            an iterable of batches or a data set in splits, of which all rows, or the test data, are one batch.

    Returns:
        Structure of the pair. A pair without a likelihood per datum has a ``refusal`` but can still be trained.

    Raises:
        TypeError: If an argument of the batch holds no numbers, the programs take another number of arguments, or the pair has no callable
            ``model`` and ``guide``.
        ValueError: If the batch is empty or not finite, if the model observes nothing, if the guide does not sample a latent, samples a
            site that the model lacks or declares a penalty, if event dimensions or plates disagree, or if data lie outside their
            support. The error names the site and the remedy.
    """
    structure, observed = _read(pair, read_batch(pair, data))
    for site in observed:
        check_support(site)
    return structure


def read_structure(pair: object, *batch: Tensor) -> Structure:
    """Return the structure as :func:`check_pair` does, but without checking that the batch lies in any support;
    it must still be finite."""
    return _read(pair, batch)[0]


def _read(pair: object, batch: Batch) -> tuple[Structure, list[Site]]:
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


def _traces(pair: object, batch: Batch) -> tuple[poutine.Trace, poutine.Trace]:
    model, guide = programs(pair)
    try:
        with torch.random.fork_rng(), torch.no_grad(), pyro.validation_enabled(True), param_scope(pair):
            guide_trace = poutine.trace(guide).get_trace(*batch)
            model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*batch)
    except ValueError as error:
        if "Expected parameter" in str(error):
            raise ValueError(
                f"the pair cannot run on this batch: {str(error).split(', but found')[0]}, and it does not. "
                f"{remedy_of_large_data(batch) or 'Look for NaN in its parameters, or for a scale that is not positive.'}"
            ) from error
        if "Shape mismatch inside plate" not in str(error):
            raise
        raise ValueError(
            f"{error}. A site's batch shape must be the plate's size, {len(batch[0])}: declare the other dimensions as "
            "event dimensions with .to_event(n), and write pyro.plate('data', len(x))."
        ) from error
    return guide_trace, model_trace


def _check_names(sampled: list[str], guide_sites: dict[str, Site], latents: dict[str, Site], observed: list[Site]) -> None:
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
                f"the guide samples '{name}', which is not a latent of the model; its latents are {sorted(latents)}. "
                "Rename or remove the site."
            )


def _check_event_dims(name: str, prior: TorchDistribution, posterior: TorchDistribution) -> None:
    if prior.event_shape != posterior.event_shape:
        raise ValueError(
            f"site '{name}': model and guide must have the same event shape; the model has {tuple(prior.event_shape)}, the guide "
            f"{tuple(posterior.event_shape)}. Change the sizes, or use .to_event(n) in one of them."
        )


def _check_penalties(guide_trace: poutine.Trace) -> None:
    for site in sample_sites(guide_trace):
        if is_penalty(site):
            raise ValueError(
                f"penalty '{site['name']}' must be declared in the model; got it in the guide, whose terms Pyro subtracts. "
                "Move it to the model."
            )


def _plate_refusal(size: int, sites: list[Site]) -> str | None:
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


def _enumeration_refusal(enumerated: list[Site]) -> str | None:
    for site in enumerated:
        if site["mask"] is not None or isinstance(site["fn"], dist.MaskedDistribution):
            return (
                f"site '{site['name']}' is enumerated under a mask, so there is no likelihood per datum: where the site is masked, "
                "the sum over its values counts every value once. Mask only the observed site."
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


def _measure(observed: list[Site]) -> str:
    kinds = {"mass" if is_discrete(site["fn"]) else "density" for site in observed}
    return kinds.pop() if len(kinds) == 1 else "mixed"
