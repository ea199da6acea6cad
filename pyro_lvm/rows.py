"""Parameters that belong to the rows of the training data, such as those of an AutoNormal with local latents."""

import pyro
from pyro import poutine
import torch
from torch import Tensor, nn

from pyro_lvm.modules import Watch
from pyro_lvm.pair import Batch, programs
from pyro_lvm.scopes import OF_MODULE, Networks, isolated
from pyro_lvm.sites import density_sites, masked_log_prob, plate_names


def row_parameters(pair: object, batch: Batch, networks: Networks, plates: set[str]) -> tuple[str, ...]:
    r"""Return the names of the parameters that a pair uses by the position of a datum in the batch.

    On a batch of B equal rows with equal latents, the gradients of the log densities of any two data are equal,

    .. math:: \nabla_\theta \log p(x_0, z_0) = \nabla_\theta \log p(x_1, z_1), \quad
        \nabla_\theta \log q(z_0 \mid x_0) = \nabla_\theta \log q(z_1 \mid x_1),

    unless :math:`\theta` belongs to rows.

    Args:
        pair: Any pair that has run on the batch.
        batch: Any batch.
        networks: What that run has shown.
        plates: Names of the plates of data.
    """
    size = len(batch[0])
    candidates = {name: value for name, value in _candidates(networks).items() if size > 1 and max(value.shape, default=0) >= size}
    if not candidates:
        return ()
    copies = tuple(x[:1].expand(size, *x.shape[1:]).contiguous() for x in batch)
    with isolated(pair), torch.random.fork_rng(), torch.enable_grad(), pyro.validation_enabled(False), Watch(pair):
        first, second = _gradients(pair, copies, list(candidates.values()), plates)
    return tuple(name for name, a, b in zip(candidates, first, second, strict=True) if not _are_equal(a, b))


def _candidates(networks: Networks) -> dict[str, Tensor]:
    """Return the trained parameters that a program may index by rows: those of its own, and embeddings."""
    own = {name: value for name, value in networks.parameters.items() if OF_MODULE not in name}
    embeddings = [module for module in networks.ran.values() if isinstance(module, nn.Embedding)]
    own |= {f"weight of {module}": module.weight for module in embeddings}
    return {name: value for name, value in own.items() if value.requires_grad}


def _gradients(pair: object, copies: Batch, parameters: list[Tensor], plates: set[str]) -> tuple[tuple[Tensor | None, ...], ...]:
    """Return the gradients of the log densities of the first two data, at the latents of the first."""
    model, guide = programs(pair)
    size = len(copies[0])
    drawn = _with_equal_rows(poutine.trace(guide).get_trace(*copies), plates)
    both = _with_equal_rows(poutine.trace(poutine.replay(model, trace=drawn)).get_trace(*copies), plates)  # also what the guide leaves out
    traces = [poutine.trace(poutine.replay(*each)).get_trace(*copies) for each in ((guide, drawn), (model, both))]
    log_q, log_p = (_of_rows(trace, size, plates).to(copies[0].device) for trace in traces)
    total = log_q + 3 * log_p  # in which the densities of a latent do not cancel
    if not total.requires_grad:
        return (None,) * len(parameters), (None,) * len(parameters)
    return tuple(torch.autograd.grad(total[row], parameters, retain_graph=True, allow_unused=True) for row in (0, 1))


def _with_equal_rows(trace: poutine.Trace, plates: set[str]) -> poutine.Trace:
    """Give all data the latents of the first."""
    for site in density_sites(trace):
        dim = site["value"].dim() - len(site["fn"].event_shape) - 1  # of the data
        if plates & plate_names(site) and not site["is_observed"] and dim >= 0:
            site["value"] = site["value"].detach().narrow(dim, 0, 1).expand(site["value"].shape).contiguous()
    return trace


def _of_rows(trace: poutine.Trace, size: int, plates: set[str]) -> Tensor:
    terms = [masked_log_prob(site) for site in density_sites(trace) if plates & plate_names(site)]
    return sum((term.expand(torch.broadcast_shapes(term.shape, (size,))).reshape(-1, size)[-1] for term in terms), torch.zeros(size))


def _are_equal(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.allclose(first, second, rtol=1e-3, atol=1e-6 * float(first.abs().max()), equal_nan=True)
