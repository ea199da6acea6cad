"""Shapes at every site: of values, densities, masks and scales, in plates of the data, at one batch size and at another."""

from collections.abc import Iterable

import torch
from torch import Tensor

from pyro_lvm.pair import Batch
from pyro_lvm.sites import Site, element_mask, frames_of, plate_names
from pyro_lvm.structure import TAKES_ALL_ROWS, Run, run_pair

_REMEDY = "Declare all other dimensions as event dimensions with .to_event(n), or remove them from the value."
_FEWER = 3  # rows on which the shapes are tried again


def check_shapes(site: Site, size: int) -> None:
    """Check that a site's value has the event shape of its distribution, and that its log density has the shape of its plates.

    Raises:
        ValueError: If not, as where dimensions broadcast by accident; the error names site, shapes and remedy.
    """
    fn, value = site["fn"], site["value"]
    batch_shape, event_shape = tuple(fn.batch_shape), tuple(fn.event_shape)
    lead = value.shape[: value.dim() - len(event_shape)]
    described = f"values of shape {tuple(value.shape)} and a distribution of batch shape {batch_shape} and event shape {event_shape}"
    if tuple(value.shape[len(lead) :]) != event_shape:
        raise ValueError(
            f"site '{site['name']}': a value must have the event shape of its distribution; got {described}. Change the shape of the data "
            "or of the network's output, or use .to_event(n)."
        )
    _check_weights(site, size)
    if site["infer"].get("enumerate") == "parallel" and all(frame.size == -1 for frame in frames_of(site)):
        return  # summed out for every datum, also if a plate without a size leaves the values of all data the same
    expected = _plate_shape(site, size)
    try:
        got: tuple[int, ...] | None = tuple(torch.broadcast_shapes(lead, batch_shape))
    except RuntimeError:
        got = None
    if got is None or _without_leading_ones(got) != _without_leading_ones(expected) or len(lead) > len(expected) > 0:
        raise ValueError(
            f"site '{site['name']}': the log density must have shape {expected}, that of its plates; got {got} from {described}. "
            + (TAKES_ALL_ROWS if got is None else _REMEDY)
        )


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return _without_leading_ones(shape[1:]) if shape[:1] == (1,) else shape


def _plate_shape(site: Site, size: int) -> tuple[int, ...]:
    """Return the shape of the plates around a site; a plate without a declared size has that of the batch."""
    plates = {frame.dim: frame.size if frame.size > 0 else size for frame in frames_of(site)}
    return tuple(plates.get(dim, 1) for dim in range(min(plates, default=0), 0))


def _check_weights(site: Site, size: int) -> None:
    """Check that mask and scale of a site have the shape of its plates, so that they make no new dimension of its log density."""
    expected = _plate_shape(site, size)
    for kind in ("mask", "scale"):
        weight = site[kind]
        got = tuple(weight.shape) if isinstance(weight, Tensor) else ()
        fits = len(got) <= len(expected) and all(a in (1, b) for a, b in zip(got[::-1], expected[::-1], strict=False))
        if not fits:
            raise ValueError(
                f"site '{site['name']}': its {kind} must have shape {expected}, one value for each datum; got {got}. Mask single elements "
                "of a datum with .mask(...) before .to_event(n), and remove dimensions of size 1."
            )


def check_masks(prior: Site, posterior: Site) -> None:
    """Check that a latent is masked alike in model and guide, as its densities only cancel then.

    Raises:
        ValueError: If it is not.
    """
    masks = [torch.ones(()).bool() if mask is None else mask for mask in map(element_mask, (prior, posterior))]
    first, second = (mask.expand(torch.broadcast_shapes(mask.shape, posterior["value"].shape)) for mask in masks)
    if first.shape != second.shape or not torch.equal(first, second.to(first.device)):
        raise ValueError(
            f"site '{prior['name']}': model and guide must mask the same data; they do not. Use the same poutine.mask around both sites; "
            "in the guide of a site with obs_mask=m, it is poutine.mask(mask=~m)."
        )


def following_plates(pair: object, batch: Batch, sites: list[Site], observed: list[Site]) -> set[str]:
    """Return the names of the plates whose size follows the batch; or, if the pair runs on no fewer rows, of all plates of its size."""
    size = len(batch[0])
    fewer = min(_FEWER, size - 1)
    sure, possible = _plates(observed, size), _plates(sites, size)
    if sure == possible or fewer < 2:
        return possible
    try:
        other = run_pair(pair, tuple(x[:fewer] for x in batch), validate=False)
    except Exception:  # a program may raise any error on rows for which it is not made
        return possible
    return sure | (possible & _plates([*other.model.values(), *other.guide.values()], fewer))


def _plates(sites: Iterable[Site], size: int) -> set[str]:
    return set().union(*(plate_names(site, size) for site in sites))


def data_plates(pair: object, batch: Batch, run: Run, sites: list[Site], observed: list[Site], *, runs_on_fewer: bool) -> set[str]:
    """Return the names of the plates of data, after checking on fewer rows that no shape is right only by coincidence.

    The plates are those of the batch's size around observed sites, and all others whose size follows the batch.

    Raises:
        ValueError: If the pair fails on fewer rows, or the event shape of a site follows the batch.
    """
    size = len(batch[0])
    fewer = min(_FEWER, size - 1)
    sure, possible = _plates(observed, size), _plates(sites, size)
    if fewer < 2 or not runs_on_fewer:
        return possible
    try:
        other = run_pair(pair, tuple(x[:fewer] for x in batch), validate=False)
    except ValueError as error:
        if "inside plate" in str(error) or "subsample" in str(error):
            return possible  # a plate of fixed size, into which fewer rows do not fit
        raise
    except Exception as error:
        raise ValueError(
            f"the pair runs on {size} rows but not on {fewer} of them: {_first_line(error)}. Either a dimension of the data is {size} by "
            "coincidence, so that tensors broadcast; or the programs hold numbers for each row, which must be arguments of their own."
        ) from error
    for mine, others in ((run.model, other.model), (run.guide, other.guide)):
        for name in mine.keys() & others.keys():
            if plate_names(mine[name], size):
                _check_event_shape(mine[name], others[name], size, fewer)
    return sure | (possible & _plates([*other.model.values(), *other.guide.values()], fewer))


def _check_event_shape(site: Site, other: Site, size: int, fewer: int) -> None:
    shape, other_shape = tuple(site["fn"].event_shape), tuple(other["fn"].event_shape)
    follows = any(a != b and a * fewer == b * size for a, b in zip(shape, other_shape, strict=False))  # others may follow the longest datum
    if len(shape) != len(other_shape) or follows:
        raise ValueError(
            f"site '{site['name']}': the event shape must be that of one datum; it is {shape} for {size} rows, {other_shape} for {fewer}. "
            "Leave the first dimension of the data to the plate, with a smaller n in .to_event(n)."
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
