"""The context in which a pair is scored, and the checks that precede it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyro
import torch

from inference.numerics import flushed_denormals, keep_freed_memory
from pyro_lvm.contract import Structure, check_pair
from pyro_lvm.modules import eval_mode
from pyro_lvm.pair import Batch, param_scope

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
    with torch.no_grad(), pyro.validation_enabled(False), flushed_denormals(), param_scope(pair), eval_mode(pair), random_state:
        yield


def _rng_type(device: torch.device) -> str:
    return "cuda" if device.type == "cpu" else device.type


def check_scorable(pair: object, batch: Batch) -> Structure:
    """Check all data against the pair before any of them are scored.

    Raises:
        ValueError: As for :func:`~inference.scoring.importance.log_weights`.
    """
    for start in range(0, len(batch[0]), _CHECKED_ROWS):
        structure = check_pair(pair, *(x[start : start + _CHECKED_ROWS] for x in batch))
        if structure.refusal is not None:
            raise ValueError(structure.refusal)
    return structure
