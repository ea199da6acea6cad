"""Where a pair is scored: what holds for the length of a score, and what is checked before."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyro
import torch
from torch import Tensor

from inference.numerics import flushed_denormals, keep_freed_memory
from pyro_lvm.contract import Structure, check_pair
from pyro_lvm.modules import eval_mode
from pyro_lvm.pair import param_scope

_CHECKED_ROWS = 1024


@contextmanager
def scoring(pair: object, device: torch.device) -> Iterator[None]:
    """No gradients, no validation but that of :func:`check_scorable`, the pair's own parameters, evaluation mode, and random numbers that
    leave the caller's as they were.
    """
    keep_freed_memory()
    devices = [] if device.type == "cpu" else [device]
    random_state = torch.random.fork_rng(devices, device_type=_rng_type(device))
    with torch.no_grad(), pyro.validation_enabled(False), flushed_denormals(), param_scope(pair), eval_mode(pair), random_state:
        yield


def _rng_type(device: torch.device) -> str:
    return "cuda" if device.type == "cpu" else device.type


def check_scorable(pair: object, batch: tuple[Tensor, ...]) -> Structure:
    """Checks all data against the pair before any is scored.

    Raises:
        ValueError: As :func:`log_weights`.
    """
    for start in range(0, len(batch[0]), _CHECKED_ROWS):
        structure = check_pair(pair, *(x[start : start + _CHECKED_ROWS] for x in batch))
        if structure.refusal is not None:
            raise ValueError(structure.refusal)
    return structure
