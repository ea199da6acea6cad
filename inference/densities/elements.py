"""How many elements of data a pair observes, by which likelihoods are divided for bits per dimension."""

from collections.abc import Iterator
from typing import NamedTuple

from pyro import poutine

from pyro_lvm.pair import Batch, programs
from pyro_lvm.sites import Site, density_sites, is_data, is_discrete, num_elements

_ROWS = 1024


class Elements(NamedTuple):
    """The elements of data that a pair observes.

    Attributes:
        num_dims: Mean number of elements of a datum over all observed sites, without those that are masked; an integer if it is one.
        is_unit_scaled: Whether all data have densities and lie in [0, 1].
    """

    num_dims: float
    is_unit_scaled: bool


def observed_elements(pair: object, batch: Batch) -> Elements:
    """Count the elements that a pair observes, in runs on all data; masks may differ from datum to datum."""
    total, is_unit_scaled = 0, True
    for sites in _observed(pair, batch):
        total += sum(int(num_elements(site).sum()) for site in sites)
        is_unit_scaled = is_unit_scaled and all(not is_discrete(site["fn"]) and _is_in_unit_interval(site) for site in sites)
    whole, rest = divmod(total, len(batch[0]))
    return Elements(total / len(batch[0]) if rest else whole, is_unit_scaled)


def _observed(pair: object, batch: Batch) -> Iterator[list[Site]]:
    model, guide = programs(pair)
    for rows in zip(*(x.split(_ROWS) for x in batch), strict=True):
        trace = poutine.trace(guide).get_trace(*rows)
        sites = density_sites(poutine.trace(poutine.replay(model, trace=trace)).get_trace(*rows))
        yield [site for site in sites if is_data(site)]


def _is_in_unit_interval(site: Site) -> bool:
    return bool(((site["value"] >= 0) & (site["value"] <= 1)).all())
