"""What layouts of particles are tried on: distinct rows, latents from guide and prior, displaced parameters; and when densities agree."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain

from pyro import poutine
import torch
from torch import Tensor

from inference.densities.layout import Latents
from inference.numerics import values_kept
from pyro_lvm.modules import modules_of
from pyro_lvm.pair import Batch
from pyro_lvm.scopes import belongings
from pyro_lvm.sites import sites_of

NUM_ROWS = 5  # to compare on
_NUM_SEEN = 64  # rows that these are chosen from
_DISPLACEMENT = 0.1  # of parameters, relative to their mean size


def distinct_rows(batch: Batch) -> Batch:
    """Return a few rows from all over the data, which differ from one another if the data do."""
    size = len(batch[0])
    seen = torch.linspace(0, size - 1, min(size, _NUM_SEEN)).long().unique()
    table = torch.cat([x[seen.to(x.device)].reshape(len(seen), -1).double().cpu() for x in batch], dim=1).nan_to_num()
    order = list(range(len(seen)))
    chosen: list[int] = []
    for row in sorted(order, key=lambda number: number * 7 % len(order)):
        if len(chosen) < NUM_ROWS and not any(torch.equal(table[row], table[other]) for other in chosen):
            chosen.append(row)
    chosen += [row for row in order if row not in chosen][: min(NUM_ROWS, size) - len(chosen)]
    return tuple(x[seen[sorted(chosen)].to(x.device)] for x in batch)


def mixed_latents(drawn: Latents, model_trace: poutine.Trace) -> Latents:
    """Replace half of the draws by draws from the model, unless latents are computed from auxiliary draws."""
    sites = sites_of(model_trace)
    if not drawn.keys() <= sites.keys():
        return drawn
    return {name: _half_replaced(value, sites[name]["fn"].sample) for name, value in drawn.items()}


def _half_replaced(value: Tensor, sample: Callable[[], Tensor]) -> Tensor:
    try:
        other = sample()
    except NotImplementedError:
        return value
    chosen = torch.rand(value.shape[:2], device=value.device) < 0.5  # [K, B]
    return torch.where(chosen[(..., *[None] * (value.dim() - 2))], other.expand(value.shape).to(value.dtype), value)


@contextmanager
def displaced(pair: object) -> Iterator[None]:
    """Displace all parameters of a pair slightly within a ``with`` block, always in the same way."""
    owned = (parameter for module in modules_of(pair) for parameter in module.parameters())
    networks = belongings(pair).networks
    tensors = chain(owned, networks.parameters.values(), networks.loose.values())
    parameters = {id(p): p.detach() for p in tensors if p.is_floating_point()}
    generator = torch.Generator().manual_seed(0)
    with values_kept(parameters.values()):
        for parameter in parameters.values():
            scale = _DISPLACEMENT * float(parameter.abs().mean()) if parameter.numel() else 0.0
            parameter += (scale or _DISPLACEMENT) * torch.randn(parameter.shape, generator=generator).to(parameter)
        yield


def agree(got: Tensor, expected: Tensor) -> bool:
    relative, absolute = (1e-9, 1e-6) if expected.dtype == torch.float64 else (1e-3, 1e-2)  # of flows, whose rounding may grow
    return torch.allclose(got, expected, relative, absolute, equal_nan=True)


def are_close(got: Tensor, expected: Tensor) -> bool:
    # A wrong slice changes log densities by nats, rounding by a few last digits of the largest density. If in doubt, tiling is correct.
    relative, absolute = (1e-12, 1e-9) if expected.dtype == torch.float64 else (1e-6, 1e-3)
    return torch.allclose(got, expected, rtol=relative, atol=absolute, equal_nan=True)
