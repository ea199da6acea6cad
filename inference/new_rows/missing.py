"""A pair whose observations have missing cells: it is conditioned on the others alone."""

from typing import Any

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from pyro.poutine.messenger import Messenger
import torch
from torch import Tensor

from inference.predictive.conditioning import HoldMessenger, Latents, draw, run, unmasked
from pyro_lvm.contract import read_structure
from pyro_lvm.modules import eval_mode
from pyro_lvm.pair import Batch, Pair, programs
from pyro_lvm.scopes import belongings, isolated
from pyro_lvm.sites import Site, masked_log_prob, sites_of
from pyro_lvm.structure import Structure, run_pair

_FEW = 4  # rows on which it is tried what the model reads


class UnsplitError(ValueError):
    """Raised, with a sentence, if the cells of an observation have no densities of their own."""


class _MissingMessenger(Messenger):
    """Handler that leaves the missing elements ``[B, *X]`` of an observed site out of its density."""

    def __init__(self, site: str, is_missing: Tensor) -> None:
        super().__init__()
        self.site, self.is_missing = site, is_missing

    def _pyro_sample(self, msg: Site) -> None:
        if msg["name"] == self.site and msg["is_observed"]:
            msg["fn"] = masked_elements(msg["fn"], ~self.is_missing.reshape(msg["value"].shape))


def masked_elements(fn: TorchDistribution, counts: Tensor) -> TorchDistribution:
    """Return a distribution of independent elements, of which only some count in its density.

    Args:
        fn: A distribution whose event is made of independent elements.
        counts: Which elements count, ``[B, *event]``.

    Raises:
        UnsplitError: If elements depend on one another.
    """
    if not fn.event_shape:
        return fn.mask(counts)
    if isinstance(fn, torch.distributions.Independent):
        return dist.Independent(masked_elements(fn.base_dist, counts), fn.reinterpreted_batch_ndims)
    if isinstance(fn, dist.MaskedDistribution):
        return masked_elements(fn.base_dist, counts).mask(fn._mask)
    if isinstance(fn, dist.ExpandedDistribution):
        return masked_elements(fn.base_dist, counts)
    raise UnsplitError(
        f"cells can be left out of a distribution of independent ones; got a {type(fn).__name__} of event shape {tuple(fn.event_shape)}, "
        "which has one density for all. Use a likelihood such as Normal(...).to_event(1), or complete rows."
    )


def observed_site(pair: object, batch: Batch) -> tuple[str, Structure]:
    """Return the site that observes the first argument of a pair, and the structure, after checking that cells of it may be missing.

    Args:
        pair: Any pair.
        batch: Its arguments, with values in place of missing cells.

    Raises:
        ValueError: If the argument is not observed as it is at exactly one site, the model also reads it elsewhere, as autoregressive
            models do, parameters of the guide belong to rows, or the guide is certain of a latent.
    """
    with isolated(pair), torch.no_grad(), eval_mode(pair), torch.random.fork_rng():
        structure = read_structure(pair, *batch)
        sites = [name for name, place in zip(structure.observed, structure.observed_arguments, strict=True) if place == 0]
        if len(sites) != 1:
            raise ValueError(
                f"the first argument must be observed as it is at one site, so that cells of it can be missing; it is at {len(sites)} of "
                f"{structure.observed}. Pass obs=x to one pyro.sample of the model."
            )
        _check_guide(structure)
        if _reads(pair, tuple(x[:_FEW] for x in batch), sites[0]):
            raise ValueError(
                f"the model must not depend on x other than by observing it at site '{sites[0]}', if cells of x are missing; it does, as "
                "autoregressive models do. Use a model of independent cells given the latents, or complete rows."
            )
    return sites[0], structure


def _check_guide(structure: Structure) -> None:
    if structure.row_parameters:
        raise ValueError(
            f"the parameters {structure.row_parameters} belong to the rows of the training data and say nothing of others. Write a guide "
            "that computes its parameters from x."
        )
    if structure.certain:
        raise ValueError(
            f"the guide is certain of {', '.join(structure.certain)}, and p(z | x) of incomplete rows is not. Use a proposal that draws "
            "them, such as vqvae.soft(temperature) with the temperature of fit_temperature."
        )


def _reads(pair: object, rows: Batch, site: str) -> bool:
    """Return whether the density of a site, at given values, changes with what is observed at another, or with the first argument."""
    values = draw(pair, rows, read_structure(pair, *rows), {}).first(len(rows[0]))
    other = values | {site: _other(values[site])}
    expected = _log_densities(pair, rows, values, values)
    try:
        got = _log_densities(pair, (_other(rows[0]), *rows[1:]), other, values)
    except Exception:  # a program that fails at other values of the same shape reads them
        return True
    return any(not torch.allclose(got[name], expected[name], rtol=1e-5, atol=1e-6, equal_nan=True) for name in expected)


def _other(x: Tensor) -> Tensor:
    """Values of the same kind that differ in every element: zeros, and ones in place of zeros."""
    return (x == 0).to(x.dtype)


def _log_densities(pair: object, rows: Batch, held: Latents, at: Latents) -> dict[str, Tensor]:
    trace = run(programs(pair)[0], rows, HoldMessenger(held))
    return {name: unmasked(site["fn"]).log_prob(at[name]) for name, site in sites_of(trace).items() if name in at}


def filled(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return values ``[B, *X]`` with a column's median in place of NaN, for networks that must see a number, and which were NaN.

    Raises:
        ValueError: If no cell is observed.
    """
    is_missing = x.isnan()
    if bool(is_missing.all()):
        raise ValueError("x must have at least one observed cell; all are missing. Draw from the model instead: sample_prior.")
    columns = x.nanmedian(0).values  # [*X]
    columns = columns.where(~columns.isnan(), x.flatten().nanmedian())
    return x.where(~is_missing, columns), is_missing


def takes_gaps(pair: object, batch: Batch) -> bool:
    """Return whether a guide takes rows with NaN in missing cells, as one that begins with ColumnInputs does: its latents are finite."""
    try:
        guide = run_pair(pair, batch, validate=False).guide.values()
        return all(bool(site["value"].isfinite().all() and masked_log_prob(site).isfinite().all()) for site in guide)
    except (ValueError, RuntimeError, IndexError):
        return False


def with_missing(pair: object, site: str, *, shows_gaps: bool = False) -> Any:
    """Return a pair that takes one more argument, which cells of its first one are missing, and shares programs and parameters.

    Args:
        pair: Any pair.
        site: The site that observes its first argument.
        shows_gaps: Whether the guide sees NaN in missing cells, for which it is made, instead of the values in their place, with which it
            is no longer near p(z | x).
    """
    model, guide = programs(pair)

    def model_of_observed(*arguments: Tensor) -> object:
        *batch, is_missing = arguments
        with _MissingMessenger(site, is_missing):
            return model(*batch)

    def guide_of_rows(*arguments: Tensor) -> object:
        x, *others, is_missing = arguments
        return guide(x.masked_fill(is_missing, torch.nan) if shows_gaps else x, *others)

    return Pair(model_of_observed, guide_of_rows, param_store=belongings(pair).store)
