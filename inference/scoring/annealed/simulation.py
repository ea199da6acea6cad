"""Data simulated from a model, each with the latents that made it: an exact draw from their posterior."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from inference.numerics import seeded
from inference.predictive.conditioning import HoldMessenger, draw, run
from inference.predictive.rows import is_number, read_data, read_rows
from pyro_lvm.pair import Batch, programs
from pyro_lvm.sites import is_data, masked_log_prob, sites_of
from pyro_lvm.structure import Structure


class Simulated(NamedTuple):
    """Draws from the joint distribution of a model.

    Attributes:
        batch: The arguments of the pair, with simulated observations.
        latents: The latents that the guide samples, by site, each ``[N, *Z]``.
    """

    batch: Batch
    latents: dict[str, Tensor]


def simulate(pair: object, data: tuple[Any, ...], seed: int) -> Simulated:
    """Draw latents and observations from the model for each row of a batch, or for a number of data.

    Args:
        pair: Any pair, in the scope of a score.
        data: As for :func:`~inference.predictive.draws.sample_prior`.
        seed: Seed of the draws.

    Raises:
        ValueError: If the pair given the simulated data is not what simulated them: if it observes values that it computes, or parts of an
            argument, or reads an argument besides observing it; or if only a number is given and it takes more than it observes.
    """
    data = read_data(pair, data)
    rows, structure = read_rows(pair, data)
    with seeded(seed):
        drawn = draw(pair, rows, structure, {})
    known = dict(zip(structure.observed, structure.observed_arguments, strict=True))
    places = {name: _place_of(name, value, rows, known[name]) for name, value in drawn.replaced.items()}
    others = sorted(set(range(len(rows))) - set(places.values()))
    if others and is_number(data):
        raise ValueError(f"arguments {others} of the pair are not observed; got only a number of data. Pass rows.")
    sites, batch = sites_of(drawn.trace), list(rows)
    for name, place in places.items():
        batch[place] = _as_argument(name, sites[name]["value"], rows[place])
    values = {name: sites[name]["value"] for name in (*structure.latents, *structure.enumerated)}
    _check_replay(pair, tuple(batch), values, sites, structure)
    return Simulated(tuple(batch), {name: values[name] for name in structure.latents})


def _place_of(name: str, value: Tensor, rows: Batch, known: int | None) -> int:
    """Return the place of the argument that a site observes: the one whose memory it shares or, of a copy, the one of equal values."""
    pointers = [x.untyped_storage().data_ptr() for x in rows]
    place = pointers.index(value.untyped_storage().data_ptr()) if value.untyped_storage().data_ptr() in pointers else known
    if place is None:
        raise ValueError(f"site '{name}' must observe an argument of the pair to be simulated; it observes a value that is computed.")
    return place


def _as_argument(name: str, value: Tensor, like: Tensor) -> Tensor:
    if value.numel() != like.numel():
        raise ValueError(
            f"site '{name}' must observe an argument as a whole to be simulated; it draws {tuple(value.shape)} for {tuple(like.shape)}."
        )
    return value.reshape(like.shape).to(like.dtype).contiguous()


def _check_replay(pair: object, batch: Batch, values: dict[str, Tensor], drawn: dict[str, Any], structure: Structure) -> None:
    """Check that the model, given simulated data and their latents, observes these data with the densities with which it drew them."""
    replayed = sites_of(run(programs(pair)[0], batch, HoldMessenger(values)))
    for name in (*values, *structure.observed):
        site = replayed[name]
        is_same = not is_data(site) or torch.equal(site["value"], drawn[name]["value"].to(site["value"].dtype))
        if not (is_same and torch.allclose(masked_log_prob(site), masked_log_prob(drawn[name]), rtol=1e-5, atol=1e-5)):
            raise ValueError(
                f"the pair cannot be given data that its own model has drawn: site '{name}' has other values or densities then. The model "
                "reads an argument besides observing it, as one that conditions on earlier elements or masks missing values does."
            )
