"""Tensors that a pair would train if they were registered: the leaves of the gradient's graph that belong to nothing known."""

from collections.abc import Iterable

import pyro
from pyro import poutine
import torch
from torch import Tensor

from pyro_lvm.modules import Watch, modules_of
from pyro_lvm.pair import Batch, programs
from pyro_lvm.scopes import Networks, belongings, isolated
from pyro_lvm.sites import masked_log_prob, sample_sites

_FEW = 4  # rows that show on which tensors a pair depends


def note_loose_tensors(pair: object, batch: Batch, networks: Networks) -> None:
    """Note on which trainable tensors the densities of a pair depend that neither its modules nor Pyro's parameters hold.

    A weight that is used without a call of its module, and a parameter of no module, show in no other way.

    Args:
        pair: A pair that has run on the batch.
        batch: The batch.
        networks: What that run has shown, to which the tensors are added.
    """
    known = {id(parameter) for module in modules_of(pair) for parameter in module.parameters()}
    known |= {id(tensor) for tensor in (*networks.parameters.values(), *batch)}
    for rows in (tuple(x[:_FEW] for x in batch), batch):
        try:
            found = _leaves(_densities(pair, rows))
        except Exception:  # a program may raise any error on rows for which it is not made, or where gradients are wanted
            continue
        networks.loose = {id(tensor): tensor for tensor in found if id(tensor) not in known}
        belongings(pair).networks.loose = networks.loose
        return


def _densities(pair: object, batch: Batch) -> list[Tensor]:
    model, guide = programs(pair)
    with isolated(pair), torch.random.fork_rng(), torch.enable_grad(), pyro.validation_enabled(False), Watch(pair):
        guide_trace = poutine.trace(guide).get_trace(*batch)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*batch)
        return [masked_log_prob(site) for trace in (guide_trace, model_trace) for site in sample_sites(trace)]


def _leaves(results: Iterable[Tensor]) -> list[Tensor]:
    """Return the leaves of the graphs that lead to tensors."""
    waiting, seen, found = [x.grad_fn for x in results if x.grad_fn is not None], set(), []
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting += [parent for parent, _ in node.next_functions if parent is not None]
    return found
