"""The tensors that a fit trains, and which of them belong to the guide."""

from collections.abc import Callable

import pyro
from pyro import poutine
import torch
from torch import Tensor, nn

from pyro_lvm.checks import warn_caller
from pyro_lvm.modules import modules_of
from pyro_lvm.pair import Batch, owner_of, programs
from pyro_lvm.scopes import Networks, belongings
from pyro_lvm.sites import sites_of


def trainable_parameters(pair: object, networks: Networks) -> list[Tensor]:
    """Return the unconstrained leaf tensors of a pair that a fit trains.

    These are the tensors that its programs register with Pyro, and the parameters of the pair and of the programs that are modules.

    Args:
        pair: Any pair.
        networks: What a run of the pair has shown.

    Raises:
        ValueError: If there are none.
    """
    found = list(networks.parameters.values())
    for owner in (pair, *map(owner_of, programs(pair))):
        found += list(owner.parameters()) if isinstance(owner, nn.Module) else []
    parameters = list({id(p): p for p in found if p.requires_grad}.values())
    _warn_of_strangers(pair, parameters)
    if not parameters:
        raise ValueError(
            "the pair must have parameters to train; got none. Call pyro.module(name, network) in the functions that use a network, "
            "or declare pyro.param(name, value)."
        )
    return parameters


def _warn_of_strangers(pair: object, parameters: list[Tensor]) -> None:
    known = {id(p) for p in parameters}
    shapes = [tuple(tensor.shape) for number, tensor in belongings(pair).networks.loose.items() if number not in known]
    if shapes:
        warn_caller(
            f"the pair depends on {len(shapes)} tensors with gradients, of shapes {shapes[:3]}, that are not registered with Pyro and will "
            "not be trained. Call pyro.module(name, network) in the function that uses a network, or declare pyro.param(name, tensor)."
        )
    for module in modules_of(pair):
        if any(p.requires_grad and id(p) not in known for p in module.parameters()):
            warn_caller(
                f"the pair uses a {type(module).__name__} that is not registered with Pyro and will not be trained. Call "
                "pyro.module(name, network) in the function that uses it, or set requires_grad_(False)."
            )


def guide_parameters(guide: Callable[..., object], parameters: list[Tensor], batch: Batch) -> list[Tensor]:
    """Return the parameters on which the guide's draws or their densities depend."""
    with torch.random.fork_rng(), torch.enable_grad(), pyro.validation_enabled(False):
        trace = poutine.trace(guide).get_trace(*batch)
        trace.compute_log_prob()
        values = [site["value"] for site in sites_of(trace).values() if site["type"] == "sample" and not site["is_observed"]]
        total = trace.log_prob_sum() + sum(v.sum() for v in values if v.is_floating_point())
    if not (isinstance(total, Tensor) and total.requires_grad):
        return []
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
