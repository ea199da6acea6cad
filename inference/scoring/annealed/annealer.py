"""Annealed importance sampling for blocks of data: from a proposal to the posterior, and back from exact draws."""

from collections.abc import Iterator
from dataclasses import dataclass
import math
from typing import NamedTuple

import torch
from torch import Tensor

from inference.densities.unconstrained import Coordinates
from inference.numerics import block_seed
from inference.scoring.annealed.course import Course, piloted
from inference.scoring.annealed.hamiltonian import moved
from inference.scoring.annealed.path import Path, Target
from inference.scoring.annealed.shares import after_pilot, for_pilot
from inference.scoring.eager import Scores
from inference.scoring.proposals.judging import Pilot, judged
from inference.scoring.proposals.normal import DiagonalNormal
from inference.scoring.proposals.refined import Fitted, Refiner
from inference.scoring.proposals.student import Mixture
from pyro_lvm.pair import Batch

_CHAINS = 64  # of a datum that run together
_PILOT, _FORWARD, _BACKWARD = 4, 5, 6  # places of the seeds after those of the fit


class Prepared(NamedTuple):
    """What chains of a block of R data need.

    Attributes:
        fitted: What is known of the proposals.
        pilot: What the pilot's chains say.
        path: The path.
        course: Its schedule and step sizes.
        seed: Seed of the block.
    """

    fitted: Fitted
    pilot: Pilot
    path: Path
    course: Course
    seed: int


@dataclass(frozen=True)
class Annealer:
    r"""Runs chains along the path from a proposal q to the posterior of each datum.

    The proposal is the refined mixture, or one of its safe components alone, a Student's t distribution with the moments of the guide's
    draws (a guide's own density cannot be computed at every state). States move by Hamiltonian transitions :math:`T_t` of the
    distributions at :math:`\beta_t`. Forward weights are

    .. math:: \log w = \sum_{t=0}^{T-1} (\beta_{t+1} - \beta_t) \left( \log p(x, v_t) - \log q(v_t) \right), \quad
        v_0 \sim q, \quad v_t \sim T_t(v_{t-1})

    and :math:`E[w] = p(x)`. Chains that start at a draw from p(v|x) and take the same transitions in reverse order have weights with
    :math:`E[1 / w] = 1 / p(x)`.

    Attributes:
        refiner: Fits proposals; it is forced to refine all data.
        num_steps: T.
        starts_at_guide: Whether q has the guide's moments.

    References:
        Neal (2001), Annealed importance sampling. https://arxiv.org/abs/physics/9803008

        Grosse, Ghahramani, Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo.
        https://arxiv.org/abs/1511.02543
    """

    refiner: Refiner
    num_steps: int
    starts_at_guide: bool = False

    @property
    def proposal(self) -> str:
        """What the chains start at, in words."""
        return "the guide's moments" if self.starts_at_guide else "refined for each datum"

    def prepare(self, batch: Batch, seed: int) -> Prepared:
        """Find proposals, schedules and step sizes for a block of data; they depend only on the seed."""
        refiner, fitted = self.refiner, self.refiner.fit(batch, seed)
        target = in_groups(refiner.scores, refiner.coordinates, batch, refiner.family.num_draws)
        mixture, num_fitted = self._start(fitted)
        path = Path(for_pilot(mixture, num_fitted), target)
        pilot = piloted(path, self.num_steps, torch.Generator(batch[0].device).manual_seed(block_seed(seed, _PILOT)))
        path = Path(after_pilot(mixture, pilot.shares_of_weight, num_fitted), target)
        return Prepared(fitted, judged(pilot.log_weights), path, pilot.course, seed)

    def _start(self, fitted: Fitted) -> tuple[Mixture, int]:
        """Return the proposal, and the number of its first components that are not only there to be safe."""
        if fitted.mixture is None:
            raise TypeError("the refiner of an annealer must be forced.")
        components, shares = fitted.mixture.components, fitted.mixture.shares.clone()
        are_fitted = [not isinstance(each.normal, DiagonalNormal) for each in components]  # then the guide's moments, and maybe the prior's
        num_fitted = sum(are_fitted)
        if not self.starts_at_guide:
            return fitted.mixture, num_fitted
        shares[num_fitted] = 1 - shares[num_fitted + 1 :].sum(0)
        return Mixture(components[num_fitted:], shares[num_fitted:]), 1


def forward(prepared: Prepared, num_particles: int) -> Tensor:
    """Return the log weights ``[K, R]`` of chains from the proposal to the posterior."""
    path, course = prepared.path, prepared.course
    columns = []
    for count, generator in _parts(prepared, num_particles, _FORWARD):
        point, _ = path.start(count, generator)
        log_weights = course.betas[1] * point.energy
        for before, beta in zip(course.betas[1:-1], course.betas[2:], strict=True):
            point = moved(path, point, before, course.size, generator).point
            log_weights = log_weights + (beta - before) * point.energy
        columns.append(log_weights)
    return torch.cat(columns)


def backward(prepared: Prepared, vector: Tensor, num_particles: int) -> Tensor:
    """Return the log weights ``[K, R]`` of chains to the proposal from one exact draw ``[R, D]`` of each posterior."""
    path, course = prepared.path, prepared.course
    columns = []
    for count, generator in _parts(prepared, num_particles, _BACKWARD):
        point = path.at(vector.expand(count, *vector.shape))
        log_weights = (1 - course.betas[-2]) * point.energy
        for before, beta in zip(course.betas[1:-1].flip(0), course.betas[:-2].flip(0), strict=True):
            point = moved(path, point, before, course.size, generator).point
            log_weights = log_weights + (before - beta) * point.energy
        columns.append(log_weights)
    return torch.cat(columns)


def log_mean(log_weights: Tensor) -> Tensor:
    """Return the logarithm of the mean of weights ``[K, R]``, shape ``[R]``."""
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def in_groups(scores: Scores, coordinates: Coordinates, batch: Batch, size: int) -> Target:
    """Return the model's density and gradients at vectors ``[K, R, D]``, computed for as many chains at once as draws in a fit.

    Compiled programs take this number only, so the last group is filled up with chains that do not count. The density is zero where
    latents are rounded to the boundary of their space.
    """

    def target(vector: Tensor) -> tuple[Tensor, Tensor]:
        count = len(vector)
        places = torch.arange(-(-count // size) * size, device=vector.device).clamp_max(count - 1)
        groups = [scores(batch, part) for part in vector[places].split(size)]
        log_p, slope = (torch.cat(parts)[:count] for parts in zip(*groups, strict=True))
        inside = coordinates.are_inside(vector)
        return log_p.where(inside, -torch.inf), slope.where(inside[..., None], 0.0)

    return target


def _parts(prepared: Prepared, num_particles: int, kind: int) -> Iterator[tuple[int, torch.Generator]]:
    """Yield numbers of chains that run together, each with a generator of its own."""
    device = prepared.path.scales.loc.device
    for number, done in enumerate(range(0, num_particles, _CHAINS)):
        seed = block_seed(prepared.seed, kind, number)
        yield min(_CHAINS, num_particles - done), torch.Generator(device).manual_seed(seed)
