"""The rows on which a pair is run: those that the caller passes, or as many as wanted, made like those of the last check."""

from collections.abc import Iterator
from numbers import Integral
from typing import Any

from pyro import poutine
import torch
from torch import Tensor

from inference.predictive.conditioning import FreeMessenger
from pyro_lvm.checks import check_counts
from pyro_lvm.contract import Structure, read_structure
from pyro_lvm.pair import Batch, programs
from pyro_lvm.sites import sample_sites
from pyro_lvm.templates import template_of


def read_rows(pair: object, batch: tuple[Any, ...]) -> tuple[Batch, Structure]:
    """Return the batch and the structure of a pair, or, for a number as the only argument, that many rows whose values do not matter.

    Raises:
        ValueError: If a number is given and is below 1, or the pair was never checked on rows, or its draws depend on the values of an
            argument.
    """
    if len(batch) != 1 or not isinstance(batch[0], Integral):
        return batch, read_structure(pair, *batch)
    check_counts(num_draws=batch[0])
    template = template_of(pair)
    if template is None:
        raise ValueError(
            f"the pair must have been run on data before {int(batch[0])} draws can be asked for by number; it never was. Fit it, call "
            "check_pair(pair, *rows), or pass rows instead of a number."
        )
    _check_values_do_not_matter(pair, template.rows, template.structure.observed)
    return tuple(x[:1].expand(int(batch[0]), *x.shape[1:]) for x in template.rows), template.structure


def check_number(values: dict[str, Tensor], batch: tuple[Any, ...]) -> None:
    """Check that there are as many draws as a number, if one was asked for.

    Raises:
        ValueError: If a site has another number of rows.
    """
    if len(batch) != 1 or not isinstance(batch[0], Integral):
        return
    for name, value in values.items():
        if value.dim() == 0 or len(value) != batch[0]:
            raise ValueError(
                f"site '{name}' must have one row for each of {int(batch[0])} draws; got shape {tuple(value.shape)}. Write "
                "pyro.plate('data', len(x)) in the model, or pass rows instead of a number."
            )


def _check_values_do_not_matter(pair: object, rows: Batch, observed: tuple[str, ...]) -> None:
    """Check by runs with the same noise that no draw changes with the values of an argument."""
    expected = _draws(pair, rows, observed)
    for i, x in enumerate(rows):
        for other in _others(x):
            try:
                got = _draws(pair, (*rows[:i], other, *rows[i + 1 :]), observed)
            except Exception:  # a program may raise any error at values that it reads; it has just run at others
                got = {}
            if not _are_equal(got, expected):
                arguments = ", ".join(f"x{j}" if j else "x" for j in range(len(rows)))
                raise ValueError(
                    f"draws from the model depend on the values of argument {i} of its batch, as of a condition, a covariate or a mask; "
                    f"got only a number. Pass rows with the values to draw for: sample_prior(pair, {arguments})."
                )


def _others(x: Tensor) -> Iterator[Tensor]:
    """Other values of an argument: its own rows in another order, zeros and ones."""
    yield x.roll(1, 0)
    yield torch.zeros_like(x)
    yield torch.ones_like(x)


def _draws(pair: object, rows: Batch, observed: tuple[str, ...]) -> dict[str, Tensor]:
    """Draws of latents and data, and their log densities, with noise from a fixed seed."""
    with torch.random.fork_rng(), FreeMessenger(observed):
        torch.manual_seed(0)
        trace = poutine.trace(programs(pair)[0]).get_trace(*rows)
    drawn = [site for site in sample_sites(trace) if not site["is_observed"]]
    values = {site["name"]: site["value"] for site in drawn}
    return values | {f"log p of {site['name']}": site["fn"].log_prob(site["value"]) for site in drawn}


def _are_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(_equal(first[name], second[name]) for name in first)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())
