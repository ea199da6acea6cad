"""The context in which a pair is scored, and the checks that precede it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pyro
import torch

from inference.data.fingerprint import data_id
from inference.numerics import flushed_denormals, keep_freed_memory, row_slices
from pyro_lvm.contract import check_pair
from pyro_lvm.modules import eval_mode
from pyro_lvm.pair import Batch
from pyro_lvm.scopes import belongings, isolated
from pyro_lvm.structure import Structure, known_row_parameters

_CHECKED_ROWS = 1024


@contextmanager
def scoring(pair: object, device: torch.device) -> Iterator[None]:
    """Prepare a pair for scoring within a ``with`` block.

    Gradients are off, only :func:`check_scorable` validates, the pair uses its own parameters and is in evaluation mode, and the
    caller's random state is restored afterwards.
    """
    keep_freed_memory()
    devices = [] if device.type == "cpu" else [device]
    random_state = torch.random.fork_rng(devices, device_type=_rng_type(device))
    with isolated(pair), random_state, torch.no_grad(), pyro.validation_enabled(False), flushed_denormals(), eval_mode(pair):
        yield


def _rng_type(device: torch.device) -> str:
    return "cuda" if device.type == "cpu" else device.type


def check_scorable(pair: object, batch: Batch) -> Structure:
    """Check all data against the pair before any of them are scored.

    Returns:
        The structure of the pair, with the networks of all its runs.

    Raises:
        ValueError: As for :func:`~inference.scoring.importance.log_weights`.
    """
    known = known_row_parameters(pair)
    if known:  # first, as the pair cannot even run on other rows
        check_rows(pair, known, batch)
    slices = list(row_slices(len(batch[0]), _CHECKED_ROWS))
    try:
        structures = [check_pair(pair, *(x[rows] for x in batch)).scorable() for rows in slices]
    except ValueError:
        if len(slices) == 1:
            raise
        structures = [check_pair(pair, *batch).scorable()]  # some programs run only on all rows at once
    structure = structures[0]
    if structure.row_parameters and not known:
        check_rows(pair, structure.row_parameters, batch)
    for other in structures[1:]:
        structure.networks.add(other.networks)
    return replace(
        structure,
        missing=tuple(name for name in structure.missing if all(name in each.missing for each in structures)),
        num_elements=sum(each.num_elements for each in structures),
        is_unit_scaled=all(each.is_unit_scaled for each in structures),
    )


def check_rows(pair: object, parameters: tuple[str, ...], batch: Batch) -> None:
    """Check that a pair whose parameters belong to the rows of its training data is given these rows.

    Raises:
        ValueError: If they are others. Where it is not known which rows these are, as after plain SVI, only their number is checked.
    """
    known, given = belongings(pair).rows, data_id(*batch)
    if known is not None and known != given:
        raise ValueError(
            f"the parameters {parameters} belong to the rows of the training data, one each, and say nothing of other rows: "
            "score the training data, all of them in their order; or write a guide that computes its parameters from x."
        )
