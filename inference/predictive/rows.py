"""The rows on which a pair is run, those passed or as many as wanted, and whether draws depend on their values."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from inference.predictive.conditioning import Draws, HoldMessenger, Latents, run, unmasked
from pyro_lvm.checks import check_counts, warn_caller
from pyro_lvm.contract import read_structure
from pyro_lvm.pair import Batch, programs
from pyro_lvm.reading import read_batch
from pyro_lvm.rows.lazy import plain
from pyro_lvm.sites import sites_of
from pyro_lvm.structure import Structure, rows_seen, template_of

_FEW = 4  # rows on which it is tried whether values matter


def read_data(pair: object, data: tuple[Any, ...]) -> tuple[Any, ...]:
    """Read data in any form as the tensors of a batch; a number of draws stays what it is."""
    return data if is_number(data) else tuple(map(plain, read_batch(pair, data)))


def read_rows(pair: object, batch: tuple[Any, ...]) -> tuple[Batch, Structure]:
    """Return the batch and the structure of a pair, or, for a number as the only argument, that many rows like those of the last check.

    Raises:
        ValueError: If a number is given and is below 1, or the pair was never checked on rows.
    """
    if not is_number(batch):
        return _separate(batch), read_structure(pair, *batch)
    check_counts(num_draws=batch[0])
    seen = rows_seen(pair)
    if seen is None:
        raise ValueError(
            f"the pair must have been run on data before {int(batch[0])} draws can be asked for by number; it never was. Fit it, call "
            "check_pair(pair, *rows), or pass rows instead of a number."
        )
    template = template_of(pair)
    structure = read_structure(pair, *seen) if template is None else template.structure
    return tuple(x[:1].expand(int(batch[0]), *x.shape[1:]) for x in seen), structure


def _separate(rows: Batch) -> Batch:
    """Rows of which no two tensors share memory, so that observed values can be traced back to an argument."""
    storages = {x.untyped_storage().data_ptr() for x in rows}
    return rows if len(storages) == len(rows) else tuple(x.clone() for x in rows)


def is_number(batch: tuple[Any, ...]) -> bool:
    """Return whether a number of draws is given instead of rows."""
    return len(batch) == 1 and isinstance(batch[0], Integral)


def warn_of_shifted(structure: Structure) -> None:
    """Warn of draws of what the model computes from data and latents, which are no data."""
    if structure.shifted:
        warn_caller(
            f"site '{structure.shifted[0]}' observes a value that the model computes from data and latents, such as a residual: its draws "
            "are of that value, and not of data. Observe the data, as obs=x under dist.Normal(loc, scale) instead of obs=x - loc under "
            "dist.Normal(0, scale)."
        )


def check_draws(pair: object, batch: tuple[Any, ...], rows: Batch, drawn: Draws) -> None:
    """Check that draws depend on no values that are not theirs: of rows that only stand for a number, or of data that were drawn anew.

    Raises:
        ValueError: If a number was given and an observed site has another number of draws, or draws depend on an argument's values.

    Warns:
        UserWarning: If rows were given and the model reads data directly that were replaced by draws at a site.
    """
    if is_number(batch):
        _check_number(len(rows[0]), drawn)
        template = template_of(pair)
        _check_values_do_not_matter(pair, template.rows if template else rows, drawn)
    else:
        _warn_of_data_read(pair, rows, drawn)


def _check_number(num_draws: int, drawn: Draws) -> None:
    for name, site in drawn.data_sites().items():
        if not site["fn"].batch_shape or site["fn"].batch_shape[-1] != num_draws:
            raise ValueError(
                f"site '{name}' must have one row for each of {num_draws} draws; got shape {tuple(site['value'].shape)}. Write "
                "pyro.plate('data', len(x)) in the model, or pass rows instead of a number."
            )


def _check_values_do_not_matter(pair: object, rows: Batch, drawn: Draws) -> None:
    place = _place_read(pair, rows, drawn, range(len(rows)))
    if place is not None:
        arguments = ", ".join(["pair", "x", *(f"x{i}" for i in range(1, len(rows)))])
        raise ValueError(
            f"draws from the model depend on the values of argument {place} of its batch, as of a condition, a covariate or a mask; got "
            f"only a number. Pass rows with the values to draw for: sample_prior({arguments})."
        )


def _warn_of_data_read(pair: object, rows: Batch, drawn: Draws) -> None:
    sites = {value.untyped_storage().data_ptr(): name for name, value in drawn.replaced.items()}
    observed = {i: sites[key] for i, x in enumerate(rows) if (key := x.untyped_storage().data_ptr()) in sites}
    place = _place_read(pair, rows, drawn, observed)
    if place is not None:
        warn_caller(
            f"the model observes argument {place} of its batch at site '{observed[place]}' and also reads it directly: draws are given the "
            "values passed, not the draws at that site. Use the value that pyro.sample returns in the model, or hold the site at them."
        )


def _place_read(pair: object, rows: Batch, drawn: Draws, places: Iterable[int]) -> int | None:
    """Return the first argument whose values change the density of a site while every site keeps its value, or None."""
    for size in sorted({min(_FEW, drawn.size), drawn.size}) if places else ():
        some, values = tuple(x[torch.arange(size, device=x.device) % len(x)] for x in rows), drawn.first(size)
        try:
            expected = _log_densities(pair, some, values)
        except Exception:  # a plate of fixed size takes no fewer rows; programs may raise any error then
            continue
        changed = ((i, (*some[:i], _other(some[i]), *some[i + 1 :])) for i in places)
        return next((i for i, others in changed if not _has_densities(expected, pair, others, values)), None)
    return None


def _other(x: Tensor) -> Tensor:
    """Values of the same kind that differ from an argument's in every element: zeros, and ones in place of zeros."""
    return (x == 0).to(x.dtype)


def _has_densities(expected: dict[str, Tensor], pair: object, rows: Batch, values: Latents) -> bool:
    try:
        got = _log_densities(pair, rows, values)
    except Exception:  # a program that fails at other values of the same shape reads them
        return False
    return all(_are_close(got[name], expected[name]) for name in expected)


def _log_densities(pair: object, rows: Batch, values: Latents) -> dict[str, Tensor]:
    with torch.random.fork_rng():
        trace = run(programs(pair)[0], rows, HoldMessenger(values))
    return {name: unmasked(site["fn"]).log_prob(site["value"]) for name, site in sites_of(trace).items() if name in values}


def _are_close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)
