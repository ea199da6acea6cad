"""Check of a pair's contract by running the pair once on a batch; every error names the site and the remedy."""

from math import prod
from typing import Any

from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.poutine.guide import GuideMessenger
from pyro.poutine.messenger import unwrap
import torch
from torch import Tensor

from pyro_lvm.gradients import check_images, note_loose_tensors, row_parameters
from pyro_lvm.pair import Batch, programs
from pyro_lvm.reading import read_batch
from pyro_lvm.refusals import computed_values, refusal_of, value_refusal
from pyro_lvm.rows.lazy import plain
from pyro_lvm.shapes import check_masks, check_shapes, data_plates, following_plates
from pyro_lvm.sites import (
    Site,
    bound_tensors,
    element_mask,
    frames_of,
    innermost,
    innermost_support,
    is_data,
    is_discrete,
    is_factor,
    is_penalty,
    is_point_mass,
    masked_log_prob,
    measure_of,
    num_elements,
    plate_names,
    plate_weight,
    sample_sites,
    support_of,
)
from pyro_lvm.structure import Run, Structure, remember_template, run_pair

_SEEDS = 20  # runs in which a support may show that it depends on latents


def check_batch(*batch: Tensor) -> int:
    """Return the number of data in a batch, after checking that it holds tensors of the same length.

    Raises:
        TypeError: If an argument is not a tensor.
        ValueError: If the batch is empty or its lengths differ.
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
    return len(batch[0])


def check_finite(*batch: Tensor) -> None:
    """Check that the numbers of a batch are finite.

    Raises:
        ValueError: If there are NaN or infinite values.
    """
    for i, tensor in enumerate(batch):
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            bad = int((~tensor.isfinite()).reshape(len(tensor), -1).any(1).sum())
            raise ValueError(
                f"argument {i} of the batch must be finite where the pair does not mask it; {bad} of {len(tensor)} rows hold NaN or "
                "infinite values. Remove or impute those rows, or mask them with poutine.mask or .mask(...), and keep them out of networks."
            )


def is_finite(*batch: Tensor) -> bool:
    """Return whether all numbers of a batch are finite."""
    return all(bool(x.isfinite().all()) for x in batch if x.is_floating_point())


def is_supported(site: Site) -> bool:
    """Return whether the data of an observed site, where it is not masked, lie in the support of its distribution."""
    value, support = site["value"], support_of(site["fn"])
    if support is None or not isinstance(value, Tensor) or value.numel() == 0 or bool(support.check(value).all()):
        return True
    counts = element_mask(site)
    inside = innermost_support(site["fn"]).check(value)  # type: ignore[union-attr]  # it is None only if the support is
    return counts is not None and bool((inside | ~counts).all())


def _outside_support(site: Site) -> ValueError:
    value = site["value"]
    return ValueError(
        f"site '{site['name']}': data must lie in the support {support_of(site['fn'])} of {innermost(site['fn'])}; got values from "
        f"{value.min().item():g} to {value.max().item():g}. Transform the data (for instance binarize it) or use another likelihood."
    )


def check_pair(pair: object, *data: Any) -> Structure:
    """Run a pair once on a batch, in evaluation mode, and check that it meets the contract.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``.
        data: The arguments of the programs, such as observations ``[B, *X]``, each batch-first: tensors, arrays or tables. Or a Dataset,
            an iterable of batches or a data set in splits, of which all rows, or the test data, are one batch.

    Returns:
        Structure of the pair. A pair without a likelihood per datum has a ``refusal`` but can still be trained.

    Raises:
        TypeError: If an argument of the batch holds no numbers, the programs take another number of arguments, or the pair has no callable
            ``model`` and ``guide``.
        ValueError: If the batch is empty or not finite where the pair does not mask it, if the model observes nothing, if the guide does
            not sample a latent, samples a site that the model lacks or declares a penalty, if a site's log density is not one number for
            each datum, if a value's event shape is not its distribution's, if plates disagree, or if data lie outside their support. The
            error names the site and the remedy.
    """
    batch = tuple(map(plain, read_batch(pair, data)))
    structure, run = _read(pair, batch)
    _check_observed(pair, batch, run)
    if structure.refusal is None:
        check_images(pair, batch, run.guide)
    note_loose_tensors(pair, batch, structure.networks)
    return structure


def check_data(pair: object, *batch: Tensor) -> None:
    """Check a further batch of a pair that meets the contract: it is finite and lies in its supports, wherever it is not masked.

    Raises:
        ValueError: If it is not.
    """
    _check_observed(pair, batch, run_pair(pair, batch, validate=False))


def read_structure(pair: object, *batch: Tensor) -> Structure:
    """Return the structure as :func:`check_pair` does, but without checking the values of the batch."""
    return _read(pair, batch)[0]


def _read(pair: object, batch: Batch) -> tuple[Structure, Run]:
    size = check_batch(*batch)
    run = run_pair(pair, batch, validate=is_finite(*batch))  # a pair may mask what is not finite
    if not all(bool(site["value"].isfinite().all()) for site in run.guide.values()):
        check_finite(*batch)
    latents = {name: site for name, site in run.model.items() if not site["is_observed"]}
    enumerated = {n for n, site in latents.items() if n not in run.guide and site["infer"].get("enumerate") == "parallel"}
    sampled = [name for name in latents if name not in enumerated]
    observed = [site for site in run.model.values() if is_data(site)]
    _check_names(sampled, run.guide, latents, observed)
    _check_guide(pair, run.guide_trace)
    for name in sampled:
        _check_event_dims(name, latents[name]["fn"], run.guide[name]["fn"])
    sites = [*run.model.values(), *(site for site in run.guide.values() if not is_factor(site))]
    belonging = row_parameters(pair, batch, run.networks, following_plates(pair, batch, sites, observed))
    for site in (*sites, *run.penalties):
        check_shapes(site, size)
    for name in sampled:
        check_masks(latents[name], run.guide[name])
    plates = data_plates(pair, batch, run, [*run.penalties, *sites], observed, runs_on_fewer=not belonging)
    places = tuple(_place_of(site, batch) for site in observed)
    made = [site["name"] for site, place in zip(observed, places, strict=True) if place is None]
    values = computed_values(pair, batch, made)
    structure = Structure(
        latents=tuple(sampled),
        enumerated=tuple(sorted(enumerated)),
        num_states=prod(_num_values(latents[name]) for name in enumerated),
        observed=tuple(site["name"] for site in observed),
        observed_arguments=places,
        missing=tuple(site["name"] for site in observed if site["value"].numel() and not num_elements(site).any()),
        computed=tuple(
            float(site["value"].double().nan_to_num().sum())
            for site in observed
            if site["name"] in made and site["name"] not in values.moving
        ),
        shifted=tuple(sorted(values.shifted)),
        global_sites=tuple(dict.fromkeys(site["name"] for site in sites if not plates & plate_names(site))),
        full_size=max((f.full_size or f.size for s in observed for f in frames_of(s) if f.dim == -1 and f.name in plates), default=size),
        measure=_measure(observed),
        certain=tuple(name for name in sampled if is_discrete(latents[name]["fn"]) and is_point_mass(run.guide[name])),
        is_deterministic=bool(sampled) and all(is_point_mass(s) for s in run.guide.values() if not s["is_observed"]),
        is_discrete=all(is_discrete(latents[name]["fn"]) for name in sampled),
        uneven=tuple(name for name in sampled if plate_weight(latents[name]) != plate_weight(run.guide[name])),
        row_parameters=belonging,
        refusal=refusal_of(
            size, plates, sites, {name: latents[name] for name in sampled}, [latents[name] for name in sorted(enumerated)], run.guide
        )
        or value_refusal(values),
        networks=run.networks,
        num_elements=sum(int(num_elements(site).sum()) for site in observed),
        is_unit_scaled=all(_is_in_unit_interval(site) for site in observed),
    )
    remember_template(pair, batch, structure)
    return structure, run


def _num_values(site: Site) -> int:
    try:
        return len(site["fn"].enumerate_support(expand=False))
    except NotImplementedError as error:
        raise ValueError(
            f"site '{site['name']}': the values of a {type(innermost(site['fn'])).__name__} of event shape {tuple(site['fn'].event_shape)} "
            "cannot be enumerated. Declare a site for each element, or one Categorical of all joint values."
        ) from error


def _place_of(site: Site, batch: Batch) -> int | None:
    """Return the place of the argument that a site observes as it is, or None if the program has computed its value."""
    value = site["value"].flatten().nan_to_num()
    same = (i for i, x in enumerate(batch) if x.numel() == value.numel() and torch.equal(x.flatten().nan_to_num().to(value), value))
    return next(same, None)


def _is_in_unit_interval(site: Site) -> bool:
    return not is_discrete(site["fn"]) and bool(((site["value"] >= 0) & (site["value"] <= 1)).all())


def _check_observed(pair: object, batch: Batch, run: Run) -> None:
    """Check the data of the observed sites of a run, which was without validation if the batch is not finite."""
    all_finite = is_finite(*batch)
    for site in [site for site in run.model.values() if is_data(site)]:
        if not all_finite and not _is_finite_where_it_counts(site):
            check_finite(*batch)
        if not is_supported(site) and not _support_moves(pair, batch, site):
            raise _outside_support(site)


def _is_finite_where_it_counts(site: Site) -> bool:
    counts, finite = element_mask(site), site["value"].isfinite()
    return bool((finite if counts is None else finite | ~counts).all()) and not bool(masked_log_prob(site).isnan().any())


def _support_moves(pair: object, batch: Batch, site: Site) -> bool:
    """Return whether a site's support depends on latents: data outside it then have a density of zero at these latents."""
    bounds = bound_tensors(site["fn"])
    for seed in range(_SEEDS if bounds else 0):
        others = bound_tensors(run_pair(pair, batch, validate=False, seed=seed).model[site["name"]]["fn"])
        if any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(bounds, others, strict=True)):
            return True
    return False


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
        if name not in latents and not site["is_observed"] and not site["infer"].get("is_auxiliary") and not is_factor(site):
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


def _check_guide(pair: object, trace: poutine.Trace) -> None:
    for site in sample_sites(trace):
        if is_penalty(site):
            raise ValueError(
                f"penalty '{site['name']}' must be declared in the model; got it in the guide, whose terms Pyro subtracts. "
                "Move it to the model."
            )
        if is_data(site) and not isinstance(unwrap(programs(pair)[1]), GuideMessenger):  # whose observed sites Pyro leaves out
            raise ValueError(
                f"the guide must not observe data; it does so at '{site['name']}', whose log density Pyro would subtract from the "
                "objective. Move the site to the model, or use the data without pyro.sample."
            )


def _measure(observed: list[Site]) -> str:
    kinds = {measure_of(site["fn"]) for site in observed}
    return kinds.pop() if len(kinds) == 1 else "mixed"
