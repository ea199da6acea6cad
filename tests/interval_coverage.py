"""How often intervals hold log p(x), for simulated weights whose log p(x) is 0: ``python tests/interval_coverage.py 40`` thousand data."""

from collections.abc import Callable
from math import log
import sys
from typing import NamedTuple

import torch
from torch import Tensor

from inference.scoring.intervals import (
    DrawErrors,
    Interval,
    datum_interval,
    errors_of_mean,
    first_half_share,
    mean_interval,
    tail_shape,
)
from inference.scoring.pareto import pareto_k_threshold
from inference.scoring.reduction import curve_particles, reduce_log_weights

NUM_PARTICLES, BLOCK = 1000, 1000


def normal_guide(shape: float, latents: int, generator: torch.Generator, size: int) -> Tensor:
    """Log weights of a normal posterior under a guide with (1 - shape)^(1/2) times its scale: of Pareto shape ``shape``, if positive."""
    squares = sum(torch.randn(NUM_PARTICLES, size, generator=generator).double().square() for _ in range(latents))
    return (latents * log(1 - shape) + shape * squares) / 2


def mixed_guide(shape: float, latents: int, generator: torch.Generator, size: int) -> Tensor:
    """Log weights of shape ``shape`` for one datum in ten, and of shape 0.2 for the others."""
    log_weights = normal_guide(0.2, latents, generator, size)
    log_weights[:, ::10] = normal_guide(shape, latents, generator, len(range(0, size, 10)))
    return log_weights


def shifted_guide(shift: float, latents: int, generator: torch.Generator, size: int) -> Tensor:
    """Log weights of a normal posterior under a guide of the same scale, ``shift`` scales away: log-normal."""
    return shift * torch.randn(NUM_PARTICLES, size, generator=generator).double() - shift**2 / 2


NARROW = [(shape, latents) for latents in (1, 4) for shape in (0.2, 0.36, 0.51, 0.64)]
CASES: dict[str, tuple[Callable[[float, int, torch.Generator, int], Tensor], float, int]] = {
    **{f"narrow, k = {shape}, {latents} latents": (normal_guide, shape, latents) for shape, latents in NARROW},
    "one in ten k = 0.64, 4 latents": (mixed_guide, 0.64, 4),
    "wide, twice the scale, 4 latents": (normal_guide, -3.0, 4),
    "shifted by 1": (shifted_guide, 1.0, 1),
    "shifted by 1.5": (shifted_guide, 1.5, 1),
}


class Estimates(NamedTuple):
    """Estimates of log p(x) = 0, each ``[..., N]``."""

    log_px: Tensor
    mc_error: Tensor
    shape: Tensor
    share: Tensor

    def grouped(self, size: int) -> "Estimates":
        """The same as data sets of ``size`` data, ``[..., size]``."""
        return Estimates(*(part[: len(part) // size * size].reshape(-1, size) for part in self))

    @property
    def is_marked(self) -> Tensor:
        return self.shape > pareto_k_threshold(NUM_PARTICLES)

    def interval(self, level: float = 0.95) -> Interval[Tensor]:
        return datum_interval(self.log_px, self.mc_error, self.shape, num_particles=NUM_PARTICLES, level=level)

    def errors(self) -> DrawErrors:
        return errors_of_mean(self.mc_error, self.shape, self.share, NUM_PARTICLES)

    def data_interval(self) -> Interval[Tensor]:
        errors = self.errors()
        return mean_interval(self.log_px.mean(-1), errors.error, errors, degrees=errors.degrees)

    def population_interval(self) -> Interval[Tensor]:
        size = self.log_px.shape[-1]
        return mean_interval(self.log_px.mean(-1), self.log_px.std(-1) / size**0.5, self.errors(), degrees=size - 1)


def estimates(case: str, size: int, seed: int = 0) -> Estimates:
    """Estimates for ``size`` data of one case, from 1000 draws each."""
    draw, shape, latents = CASES[case]
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, size, BLOCK):
        found = reduce_log_weights(draw(shape, latents, generator, min(BLOCK, size - start)))
        share = first_half_share(found.curve, curve_particles(NUM_PARTICLES))
        shapes = tail_shape(found.pareto_k, found.ess, found.mc_error, NUM_PARTICLES)
        parts.append((found.log_px, found.mc_error, shapes, share))
    return Estimates(*(torch.cat(part) for part in zip(*parts, strict=True)))


def holds(interval: Interval[Tensor], truth: Tensor | float = 0.0) -> Tensor:
    return (interval.lower <= truth) & (truth <= interval.upper)


def redrawn(found: Estimates, size: int, repetitions: int, seed: int = 1) -> Estimates:
    """Data sets drawn with replacement from the estimates, ``[repetitions, size]``."""
    rows = torch.randint(len(found.log_px), (repetitions, size), generator=torch.Generator().manual_seed(seed))
    return Estimates(*(part[rows] for part in found))


def with_scatter(found: Estimates, seed: int = 2) -> Estimates:
    """The same estimates for data whose log p(x) scatter by 3 nats around 0."""
    return found._replace(log_px=found.log_px + 3 * torch.randn(found.log_px.shape, generator=torch.Generator().manual_seed(seed)).double())


def _report(case: str, size: int) -> str:
    found = estimates(case, size)
    percent = [float(holds(found.interval(level))[~found.is_marked].double().mean()) for level in (0.8, 0.95, 0.99)]
    for scatter in (lambda data: data, with_scatter):
        method = Estimates.data_interval if scatter is not with_scatter else Estimates.population_interval
        percent += [float(holds(method(scatter(redrawn(found, count, 2000)))).double().mean()) for count in (10, 100, 1000)]
    bias, estimate = float(found.log_px.mean()), float(found.errors().bias)
    figures = " | ".join(f"{100 * share:5.1f}" for share in (float(found.is_marked.double().mean()), *percent))
    return f"| {case:<32} | {figures} | {bias:7.4f} | {estimate:7.4f} |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("| case | marked | datum 80 | 95 | 99 | data 10 | 100 | 1000 | population 10 | 100 | 1000 | bias | estimated |")
    for name in CASES:
        print(_report(name, 1000 * int(sys.argv[1])), flush=True)
