"""What the gradients of a pair's densities show: parameters that belong to rows of data, and tensors that belong to nothing known."""

from collections.abc import Iterable

import pyro
from pyro import poutine
import torch
from torch import Tensor, nn

from pyro_lvm.modules import Watch, modules_of
from pyro_lvm.pair import Batch, programs
from pyro_lvm.scopes import OF_MODULE, Networks, belongings, isolated
from pyro_lvm.sites import Site, density_sites, is_point_mass, masked_log_prob, plate_names, sample_sites

_FEW = 4  # rows that show on which tensors a pair depends
_MOST_ELEMENTS = 256  # of latents whose Jacobian is computed


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
    candidates = _candidates(pair, networks, size)
    if size == 1 or not candidates:
        return ()
    copies = tuple(x[:1].expand(size, *x.shape[1:]).contiguous() for x in batch)
    with isolated(pair), torch.random.fork_rng(), torch.enable_grad(), pyro.validation_enabled(False), Watch(pair):
        first, second = _gradients(pair, copies, list(candidates.values()), plates)
    return tuple(name for name, a, b in zip(candidates, first, second, strict=True) if not _are_equal(a, b))


def _candidates(pair: object, networks: Networks, size: int) -> dict[str, Tensor]:
    """Return the trained parameters that a program may use by rows: its own and embeddings of enough rows, and others of as many rows."""
    loose = {name: value for name, value in networks.parameters.items() if OF_MODULE not in name}
    loose |= {f"weight of {module}": module.weight for module in networks.ran.values() if isinstance(module, nn.Embedding)}
    found = {name: value for name, value in loose.items() if max(value.shape, default=0) >= size}
    for root in modules_of(pair):
        found |= {name: value for name, value in root.named_parameters() if size in value.shape}
    return {name: value for name, value in found.items() if value.requires_grad}


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


def check_images(pair: object, batch: Batch, guide_sites: dict[str, Site]) -> None:
    r"""Check the densities of latents that a guide computes from auxiliary draws u, on the first datum.

    .. math:: \log q(z \mid x) = \log q(u \mid x) - \log \lvert \det \partial z / \partial u \rvert

    The second term must be the ``log_density`` of the point mass at z.

    Args:
        pair: Any pair.
        batch: Any batch.
        guide_sites: The guide's sites by name; without auxiliary ones, there is nothing to check.

    Raises:
        ValueError: If the term is another one.
    """
    auxiliary = {name: site["value"] for name, site in guide_sites.items() if site["infer"].get("is_auxiliary") and not site["is_observed"]}
    if not auxiliary:
        return
    values = {name: value.detach().clone().requires_grad_() for name, value in auxiliary.items()}
    with isolated(pair), torch.random.fork_rng(), torch.enable_grad(), pyro.validation_enabled(False), Watch(pair):
        trace = poutine.trace(poutine.condition(programs(pair)[1], data=values)).get_trace(*batch)
        images = [site for site in density_sites(trace) if is_point_mass(site) and site["name"] not in values]
        elements = torch.cat([site["value"][0].flatten() for site in images]).unbind()
        if len(elements) > _MOST_ELEMENTS:
            return
        draws = list(values.values())
        rows = [torch.autograd.grad(z, draws, retain_graph=True, allow_unused=True, materialize_grads=True) for z in elements]
    jacobian = torch.stack([torch.cat([gradient[0].flatten() for gradient in row]) for row in rows])  # [D, D]
    expected, got = -jacobian.slogdet().logabsdet, sum(site["fn"].log_prob(site["value"])[0] for site in images)
    if not torch.isclose(expected, torch.as_tensor(got, dtype=expected.dtype), rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"latents {[site['name'] for site in images]} are computed from auxiliary draws; their Delta must have log_density="
            f"-log|det dz/du|, which is {float(expected):.4g} for the first datum; got {float(got):.4g}. Correct log_density."
        )
