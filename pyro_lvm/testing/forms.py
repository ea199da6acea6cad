"""Whether batch and event shapes are right, rows are independent, and expanded distributions are the same."""

from collections.abc import Iterator
from typing import Any

import pyro
from pyro import poutine
from pyro.distributions import TorchDistribution
import torch
from torch import Size, Tensor

from pyro_lvm.testing.failures import require, working
from pyro_lvm.testing.subjects import Subject

_EVENT = "Make what one latent or one datum is the event, with .to_event(1)."
_EXPAND = "Correct expand of its distribution."
_LEAD = "Treat all dimensions of the input before those of one datum as batch dimensions, and rows independently."


@torch.no_grad()
def check_shapes(subject: Subject) -> Iterator[str]:
    """Check the shapes of draws and densities, alone, expanded, in plates, and for inputs of more rows."""
    part = subject.fresh()
    p = subject.call(part)
    name, B, E = subject.name, subject.lead, p.event_shape
    require(p.batch_shape == B, f"{name}()", f"batch shape {tuple(B)}", f"{tuple(p.batch_shape)} with event shape {tuple(E)}", _EVENT)
    z = subject.draws(p, 5)
    _same_shape(f"{name}: 5 draws", z.shape, (5, *B, *E), "Correct sample.")
    log_prob = subject.log_prob(p, z)
    _same_shape(f"{name}.log_prob of 5 draws", log_prob.shape, (5, *B), _EVENT)
    yield f"batch shape {tuple(B)}, event shape {tuple(E)}"
    _check_expanded(subject, p, Size((4, *(B or (3,)))))
    _check_in_plates(subject, p)
    yield "expanded and in plates, draws and densities are those of the single distribution"
    if subject.inputs:
        _check_rows(subject, part, p, z, log_prob)
        yield "rows are independent"


def _check_expanded(subject: Subject, p: TorchDistribution, batch: Size) -> None:
    with working(subject.name, f"expand to batch shape {tuple(batch)}", _EXPAND):
        wide = p.expand(batch)
    z = subject.draws(wide)
    _same_shape(f"{subject.name}: a draw expanded to {tuple(batch)}", z.shape, (*batch, *p.event_shape), _EXPAND)
    log_prob = subject.log_prob(wide, z)
    _same_shape(f"{subject.name}.log_prob expanded to {tuple(batch)}", log_prob.shape, batch, _EXPAND)
    alone = torch.stack([subject.log_prob(p, one if p.batch_shape else one[0]) for one in z])
    if not p.batch_shape:
        log_prob = log_prob[:, 0]
    _alike(f"{subject.name}.log_prob, expanded", log_prob, alone, _EXPAND)
    flat = z.reshape(-1, z[0].numel())
    require(
        len(flat.unique(dim=0)) > 1 or _is_constant(subject, p),
        f"{subject.name}: draws expanded to {tuple(batch)}",
        "draws that differ",
        "copies of one draw",
        _EXPAND,
    )


def _is_constant(subject: Subject, p: TorchDistribution) -> bool:
    """Whether independent draws are alike as well."""
    z = subject.draws(p, 50)
    return bool((z == z[0]).all())


def _check_in_plates(subject: Subject, p: TorchDistribution) -> None:
    size = p.batch_shape[0] if p.batch_shape else 3

    def model() -> Tensor:
        with pyro.plate("particles", 4, dim=-2), pyro.plate("data", size, dim=-1):
            return pyro.sample("z", p)

    with working(subject.name, "a sample site in plates of particles and data", _EXPAND):
        sites = poutine.trace(model).get_trace()
        sites.compute_log_prob()
    site: Any = sites.nodes["z"]
    _same_shape(f"{subject.name} in plates: the value", site["value"].shape, (4, size, *p.event_shape), _EXPAND)
    _same_shape(f"{subject.name} in plates: log_prob", site["log_prob"].shape, (4, size), _EXPAND)


def _check_rows(subject: Subject, part: torch.nn.Module, p: TorchDistribution, z: Tensor, log_prob: Tensor) -> None:
    B = subject.lead[0]
    for row in range(min(B, 3)):
        alone = subject.call(part, *(x[row : row + 1] for x in subject.inputs))
        _alike(f"{subject.name}, row {row} alone", subject.log_prob(alone, z[:, row : row + 1]), log_prob[:, row : row + 1], _LEAD)
    twice = subject.call(part, *(torch.stack([x, x.flip(0)]) for x in subject.inputs))
    _same_shape(f"{subject.name} of inputs [2, {B}, ...]: the batch", twice.batch_shape, (2, B), _LEAD)
    both = subject.log_prob(twice, torch.stack([z[0], z[0].flip(0)]))
    _alike(f"{subject.name} of inputs [2, {B}, ...]", both, torch.stack([log_prob[0], log_prob[0].flip(0)]), _LEAD)


def _same_shape(name: str, got: Size, expected: tuple[int, ...], remedy: str) -> None:
    require(tuple(got) == tuple(expected), name, f"shape {tuple(expected)}", tuple(got), remedy)


def _alike(name: str, got: Tensor, expected: Tensor, remedy: str) -> None:
    is_alike = torch.allclose(got, expected, rtol=1e-8, atol=1e-8)
    gap = (got - expected).abs().max().item()
    require(is_alike, name, "the log density of the batch", f"one that is off by {gap:.3g}", remedy)
