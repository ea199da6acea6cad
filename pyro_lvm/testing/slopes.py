"""Whether gradients are those of the density and of the draws."""

from collections.abc import Iterator
import math

import pyro
from pyro.distributions import TorchDistribution
from scipy import stats
import torch
from torch import Tensor, nn

from pyro_lvm.encoders.codes import CodeEncoder
from pyro_lvm.testing.agreement import NUM_DRAWS, SIZE
from pyro_lvm.testing.failures import require, working
from pyro_lvm.testing.laws import Coordinates, features, law_of, points_of
from pyro_lvm.testing.subjects import Subject, has_masses, is_certain

_STEP = 1e-6
_NUM_BATCHES = 20
_DETACHED = "Look for .detach(), .item(), .data, torch.no_grad, or a new tensor made of numbers."


def check_gradients(subject: Subject, *, reparameterized: bool) -> Iterator[str]:
    """Check the gradients of log densities and of draws."""
    part = subject.fresh()
    p = subject.call(part)
    if is_certain(p):
        return
    z = subject.draws(p)
    learned = {name: parameter for name, parameter in part.named_parameters() if parameter.requires_grad}
    if not has_masses(p):
        said = f"the gradient of {subject.name}.log_prob"
        with working(said, "torch.autograd.gradcheck of a draw", _DETACHED), pyro.validation_enabled(False):  # which is near the support
            value = z.requires_grad_()
            torch.autograd.gradcheck(
                lambda value: subject.call(part).log_prob(value), value, rtol=1e-3, atol=1e-5, check_undefined_grad=False, fast_mode=True
            )
        yield "gradients of log densities with respect to values are right"
        z = z.detach()
    if learned:
        _check_slopes(subject, part, learned, z)
        yield f"gradients of log densities with respect to {len(learned)} parameters are right"
    if not has_masses(p) and (reparameterized or p.has_rsample):
        yield from _check_draws(subject, part, p, learned)


def _check_slopes(subject: Subject, part: nn.Module, learned: dict[str, nn.Parameter], z: Tensor) -> None:
    """Compare gradients along a random direction of each parameter with differences."""
    gradients = torch.autograd.grad(
        subject.log_prob(subject.call(part), z).sum() + 0.0 * sum(p.sum() for p in learned.values()), list(learned.values())
    )
    for (name, parameter), gradient in zip(learned.items(), gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(subject.seed), dtype=torch.float64)
        slope, difference = (gradient * direction).sum().item(), _difference(subject, part, parameter, direction, z)
        said = f"{subject.name}: the gradient of log_prob with respect to {name}"
        is_used = bool(gradient.any()) or abs(difference) > 1e-6 or isinstance(part, CodeEncoder)  # whose code vectors are in no density
        require(
            is_used, said, "one that is not zero", "zero", "Use it in forward, or remove it; if only its units are dead, give another seed."
        )
        holds = math.isclose(slope, difference, rel_tol=1e-4, abs_tol=1e-5 * (1 + abs(slope)))
        require(holds, f"{said}, along a random direction", f"{difference:.6g}, as by differences", f"{slope:.6g}", _DETACHED)


@torch.no_grad()
def _difference(subject: Subject, part: nn.Module, parameter: nn.Parameter, direction: Tensor, z: Tensor) -> float:
    kept, values = parameter.clone(), []
    for sign in (1, -1):
        parameter.copy_(kept + sign * _STEP * direction)
        values.append(subject.log_prob(subject.call(part), z))
    parameter.copy_(kept)
    return ((values[0] - values[1]).sum() / (2 * _STEP)).item()


def _check_draws(subject: Subject, part: nn.Module, p: TorchDistribution, learned: dict[str, nn.Parameter]) -> Iterator[str]:
    """Compare gradients of means of features of draws with those of the density's means."""
    name = f"rsample of {subject.name}"
    remedy = "Draw with gradients, as torch's rsample does, or set reparameterized=False, for gradients by score functions."
    require(p.has_rsample, name, "draws with gradients (has_rsample)", "none", remedy)
    if not learned:
        return
    with torch.random.fork_rng():
        torch.manual_seed(subject.seed)
        inputs = tuple(x[:2] for x in subject.inputs)
        law = law_of(subject.call(part, *inputs))
        with torch.no_grad():
            coordinates = Coordinates(law, law.of_rows(law.p.sample(torch.Size((NUM_DRAWS,)))))
        require(law.p.rsample().requires_grad, name, "draws with gradients", "draws without", _DETACHED)
        drawn = torch.stack([_slopes(subject, part, inputs, learned, coordinates, None) for _ in range(_NUM_BATCHES)])  # [batches, P]
        with torch.no_grad():
            points = points_of(law, law.of_rows(law.p.sample(torch.Size((NUM_DRAWS,)))), coordinates)
        pieces = zip(*(t.chunk(points.parts) for t in (points.z, points.log_volume, points.v)), strict=True)
        exact = torch.stack([_slopes(subject, part, inputs, learned, coordinates, piece) for piece in pieces]) * points.parts
    errors = [g.std(0) / math.sqrt(len(g)) for g in (drawn, exact)]
    critical = float(stats.t.isf(SIZE / 2 / len(learned), _NUM_BATCHES - 1))
    is_random = points.parts > 2
    slack = critical * (errors[0] ** 2 + errors[1] ** 2 * is_random).sqrt() + (0 if is_random else 10) * errors[1] + 0.1 * subject.tolerance
    off = (drawn.mean(0) - exact.mean(0)).abs() - slack
    worst = int(off.argmax())
    expected, got = f"{exact.mean(0)[worst]:.4g}, that of the density's mean", f"{drawn.mean(0)[worst]:.4g} +- {errors[0][worst]:.2g}"
    which = f"{name}: the gradient of a mean of draws with respect to {list(learned)[worst]}"
    require(off.max() < 0, which, expected, got, _DETACHED)
    yield f"gradients of draws are those of the density's means; a correct part fails in {SIZE:g} of all trials"


def _slopes(
    subject: Subject,
    part: nn.Module,
    inputs: tuple[Tensor, ...],
    learned: dict[str, nn.Parameter],
    coordinates: Coordinates,
    piece: tuple[Tensor, Tensor, Tensor] | None,
) -> Tensor:
    """Gradients of the mean of a feature along a direction of each parameter, ``[P]``: of fresh draws, or of a piece of points."""
    law = law_of(subject.call(part, *inputs))
    if piece is None:
        f = _feature(coordinates.of(law.of_rows(law.p.rsample(torch.Size((NUM_DRAWS // _NUM_BATCHES,))))))
        mean = f.mean(0).sum()
    else:
        z, log_volume, v = piece
        mean = ((law.log_prob(z) + log_volume).exp() * _feature(v)).sum()
    gradients = torch.autograd.grad(mean + 0.0 * sum(p.sum() for p in learned.values()), list(learned.values()))
    generator = torch.Generator().manual_seed(subject.seed)
    directions = [torch.randn(g.shape, generator=generator, dtype=torch.float64) for g in gradients]
    return torch.stack([(g * r).sum() for g, r in zip(gradients, directions, strict=True)])


def _feature(v: Tensor) -> Tensor:
    """A random combination of waves, ``[N, R]``."""
    waves = features(v)
    coefficients = torch.randn(waves.shape[1:], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (waves * coefficients).sum(-1) / math.sqrt(waves.shape[-1])
