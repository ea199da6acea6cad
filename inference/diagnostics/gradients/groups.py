"""Groups of a pair's parameters by the programs that depend on them."""

import pyro
from pyro import poutine
import torch
from torch import Tensor

from inference.svi.parameters import guide_parameters
from pyro_lvm.pair import Batch, programs
from pyro_lvm.sites import sample_sites

GROUPS = ("guide", "model", "shared", "other")


def grouped_parameters(pair: object, parameters: list[Tensor], batch: Batch) -> dict[str, list[int]]:
    """Return the places of the guide's parameters, the model's, and those of both; others affect only penalties, or nothing."""
    of_guide = {id(p) for p in guide_parameters(programs(pair)[1], parameters, batch)}
    of_model = {id(p) for p in _model_parameters(pair, parameters, batch)}
    found: dict[str, list[int]] = {name: [] for name in GROUPS}
    for place, parameter in enumerate(parameters):
        uses = id(parameter) in of_guide, id(parameter) in of_model
        found[{(True, False): "guide", (False, True): "model", (True, True): "shared"}.get(uses, "other")].append(place)
    return {name: places for name, places in found.items() if places}


def _model_parameters(pair: object, parameters: list[Tensor], batch: Batch) -> list[Tensor]:
    """Return the parameters on which the model's densities depend, at latents that do not."""
    model, guide = programs(pair)
    with torch.random.fork_rng(), pyro.validation_enabled(False):
        with torch.no_grad():
            drawn = poutine.trace(guide).get_trace(*batch)
        with torch.enable_grad():
            trace = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(*batch)
            trace.compute_log_prob()
            total = sum(site["log_prob_sum"] for site in sample_sites(trace))
    if not (isinstance(total, Tensor) and total.requires_grad):
        return []
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
