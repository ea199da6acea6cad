"""Proposals refined for each datum: from the guide's draws to a mixture around the posterior, then fresh draws from it."""

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import NamedTuple

import torch
from torch import Tensor

from inference.densities.layout import Latents
from inference.densities.unconstrained import Coordinates
from inference.numerics import block_seed, row_slices, seed_generators
from inference.scoring.chunks import Chunks
from inference.scoring.eager import PYRO, Draws, Eager, Scores
from inference.scoring.proposals.families import Family
from inference.scoring.proposals.fitting import Fit
from inference.scoring.proposals.judging import (
    NUM_PILOT,
    NUM_SCOUTS,
    OUTSIDE,
    SAFE,
    Pilot,
    divergence,
    is_better,
    judged,
    likeliest,
    moments,
    needs_fit,
    shares,
)
from inference.scoring.proposals.normal import DiagonalNormal, Normal
from inference.scoring.proposals.scouts import MANY_TIMES, OUT_OF_REACH, Scouts, Seen, around
from inference.scoring.proposals.student import Mixture, StudentT
from pyro_lvm.pair import Batch

_FEW_DIMS, NUM_PRIOR = 8, 256  # dimensions up to which scouts are drawn from the prior, and their number
MOST_MODES = 4  # that are fitted
_HEAVY = 5.0  # degrees of freedom of the safe components

Density = Callable[[Batch, Latents, Tensor], Tensor]


class Fitted(NamedTuple):
    """The proposals of a block of R data.

    Attributes:
        mixture: The refined proposals, or None if no datum needs one.
        is_refined: For which data the refined proposal is used, ``[R]``; for the others, it is the guide.
        guide: What pilot draws say of the guide.
        normal: What the last draws say of the fitted normal distribution, or None if none was fitted.
        scouts: What draws of the scouts say.
        unreached: Share of p(z|x), by the scouts, where the proposal's density is far too low, ``[R]``.
    """

    mixture: Mixture | None
    is_refined: Tensor
    guide: Pilot
    normal: Pilot | None
    scouts: Pilot
    unreached: Tensor


@dataclass(frozen=True)
class Refiner:
    r"""Fits a proposal to the posterior of each datum, and draws from it.

    A normal distribution N(m, S) of all latents in unconstrained space starts at the moments of draws from the guide, and is fitted to
    p(z|x) as its :class:`~inference.scoring.proposals.families.Family` says. The proposal is a mixture of Student's t distributions: one
    with this location and scale, a twentieth with the guide's moments, and others where scouts find mass that these do not reach. The guide
    itself is used where its pilot draws are the better ones.

    Attributes:
        coordinates: The latents as one unconstrained vector.
        draws: Draws from the guide.
        eager: The pair's programs, run by Pyro.
        pilot_density: Log density of the model at pilot draws.
        density: Log density of the model at the draws of a score.
        scores: Log density at unconstrained vectors, and its gradients.
        chunks: How draws are divided into blocks.
        prior: Normal distribution with the prior's moments, ``[1, D]``.
        family: The normal distributions that are fitted.
        is_forced: Whether all data are refined.
    """

    coordinates: Coordinates
    draws: Draws
    eager: Eager
    pilot_density: Density
    density: Density
    scores: Scores
    chunks: Chunks
    prior: DiagonalNormal
    family: Family
    is_forced: bool = False

    def fit(self, batch: Batch, seed: int) -> Fitted:
        """Fit the proposals of a block of data; they depend only on the seed."""
        generator = torch.Generator(batch[0].device).manual_seed(block_seed(seed, 0))
        log_q, latents = self._guide_draws(batch, NUM_PILOT, block_seed(seed, 1))
        vector = self.coordinates.vector(latents)
        start = moments(vector, self.prior)
        scouts = around(start, self.prior, _HEAVY)
        log_p, seen = self._seen(batch, latents, log_q, scouts, generator, block_seed(seed, 3))
        guide, pilot = judged(log_p - log_q), judged(seen.log_p - seen.log_q)
        updated = self.family.first_update(self.scores, batch, self.family.started(start), generator)
        first = divergence(start, updated)
        outside = seen.share_outside(scouts.near.log_prob(seen.vector), guide.estimate)
        if not (self.is_forced or needs_fit(guide, outside, first, self.coordinates.dim).any()):
            return Fitted(None, torch.zeros_like(first, dtype=torch.bool), guide, None, pilot, outside)
        at_mode = start.around(likeliest(vector, log_p, start.loc))
        shape, normal = self._rescued(batch, at_mode, self.family.fit_all(self.scores, batch, updated, generator), generator)
        best = torch.maximum(guide.estimate, normal.estimate)
        parts, still = self._modes(batch, shape, scouts.near, seen, best, generator)
        mixture = Mixture((*parts, scouts.near, scouts.wide), shares(pilot.estimate - best, still)).without_unused()
        outside = self._outside_guide(batch, seen, guide.estimate, outside)
        is_refined = ~is_better(guide, normal, outside) | self.is_forced
        unreached = seen.share_outside(mixture.log_prob(seen.vector), best, times=OUT_OF_REACH)
        if len(parts) == MOST_MODES:  # and where the last one was needed, there may be more
            unreached = torch.maximum(unreached, still[-2])
        unreached = unreached.where(is_refined, outside)
        return Fitted(mixture, is_refined, guide, normal, pilot, unreached)

    def _outside_guide(self, batch: Batch, seen: Seen, estimate: Tensor, outside: Tensor) -> Tensor:
        """Return the share of mass that the guide itself does not reach, where its moments do not, unless it cannot be asked."""
        if (outside <= OUTSIDE).all():
            return outside
        latents, log_jacobian = self.coordinates.latents(seen.vector)
        log_q = self.eager.guide_density(batch, latents)
        return outside if log_q is None else seen.share_outside(log_q + log_jacobian, estimate)

    def _modes(
        self, batch: Batch, shape: Normal, near: StudentT, seen: Seen, estimate: Tensor, generator: torch.Generator
    ) -> tuple[list[StudentT], list[Tensor]]:
        """Return the fitted component, and more from other starts, as long as scouts find mass elsewhere.

        With each comes the share of mass, by the scouts, that all components up to it do not reach, ``[R]``.
        """
        times = MANY_TIMES if self.coordinates.dim <= _FEW_DIMS else OUT_OF_REACH  # in many, a good fit has large weights too
        parts, still, reached = [], [], near.log_prob(seen.vector) + math.log(SAFE)
        while True:
            parts.append(StudentT(shape, *tail(self.coordinates.dim)))
            reached = torch.maximum(reached, parts[-1].log_prob(seen.vector))
            still.append(seen.share_outside(reached, estimate, times=times))
            missed = self._rows(still[-1] > OUTSIDE)
            if len(missed) == 0 or len(parts) == MOST_MODES:
                return parts, still
            start = shape.rows(missed).around(seen.heaviest_outside(reached, estimate, times=times)[missed])
            shape = shape.replaced(missed, self._fit_again(batch, missed, start, generator).normal)

    def _rows(self, chosen: Tensor) -> Tensor:
        """Return the indices of chosen data; all of them if there are any and the pair needs all."""
        rows = chosen.nonzero()[:, 0]
        needs_all = len(rows) > 0 and self.chunks.layout.needs_all_rows
        return torch.arange(len(chosen), device=chosen.device) if needs_all else rows

    def log_weights(self, batch: Batch, fitted: Fitted, num_particles: int, seed: int) -> Tensor:
        """Return the log weights ``[K, R]`` of fresh draws from the proposals of a block, in float64."""
        particles, rows = self.chunks.block_shape(num_particles, batch)
        columns = []
        for index, some in enumerate(row_slices(len(batch[0]), rows)):
            part, column = tuple(x[some].contiguous() for x in batch), []
            for number, done in enumerate(range(0, num_particles, particles)):
                count, own_seed = min(particles, num_particles - done), block_seed(seed, 2, index, number)
                column.append(self._part(part, fitted, some, count, own_seed))
            columns.append(torch.cat(column))
        return torch.cat(columns, dim=1)  # [K, R]

    def _part(self, batch: Batch, fitted: Fitted, rows: slice, count: int, seed: int) -> Tensor:
        chosen = fitted.is_refined[rows]
        if fitted.mixture is None or not chosen.any():
            return self._guide_log_weights(batch, count, seed)
        generator = torch.Generator(batch[0].device).manual_seed(seed)
        log_weights = self._log_weights(batch, fitted.mixture.rows(rows), count, generator)
        return log_weights if chosen.all() else torch.where(chosen, log_weights, self._guide_log_weights(batch, count, seed))

    def _guide_log_weights(self, batch: Batch, count: int, seed: int) -> Tensor:
        log_q, latents = self._guide_draws(batch, count, seed)
        return self.density(batch, latents, log_q) - log_q

    def _guide_draws(self, batch: Batch, count: int, seed: int) -> tuple[Tensor, Latents]:
        with PYRO:
            seed_generators(batch[0].device, seed)
            log_q, latents = self.draws(batch, count)
        return log_q.double(), latents

    def _seen(
        self, batch: Batch, latents: Latents, log_q: Tensor, scouts: Scouts, generator: torch.Generator, seed: int
    ) -> tuple[Tensor, Seen]:
        """Return log p(x, z) at the guide's draws, and what scouts see; in few dimensions, where they find more, also from the prior."""
        vector = scouts.sample(NUM_SCOUTS, generator)
        values, log_jacobian = self.coordinates.latents(vector)
        log_scouts = scouts.log_prob(vector)
        both = {name: torch.cat([latents[name], values[name]]) for name in values}
        log_p = self.pilot_density(batch, both, torch.cat([log_q, log_scouts - log_jacobian]))  # at once, which costs less
        log_p, log_seen = log_p[: len(log_q)], log_p[len(log_q) :] + log_jacobian
        if self.coordinates.dim > _FEW_DIMS:
            return log_p, Seen(vector, log_scouts, log_seen)
        with PYRO:
            seed_generators(batch[0].device, seed)
            drawn = self.coordinates.vector(self.eager.prior_draws(batch, self.coordinates.names, NUM_PRIOR))
        vector = torch.cat([vector, scouts.sample(NUM_PRIOR - NUM_SCOUTS, generator), drawn])  # as many of either kind
        values, log_jacobian = self.coordinates.latents(vector)
        log_prior, log_seen = self.eager.prior_and_joint(batch, values)
        log_drawn = torch.logaddexp(scouts.log_prob(vector), log_prior + log_jacobian) - math.log(2.0)
        return log_p, Seen(vector, log_drawn, log_seen + log_jacobian)

    def _log_weights(self, batch: Batch, mixture: Mixture, count: int, generator: torch.Generator) -> Tensor:
        vector = mixture.sample(count, generator).to(self.coordinates.dtype).double()  # the numbers that the model sees
        latents, log_jacobian = self.coordinates.latents(vector)
        log_q = mixture.log_prob(vector) - log_jacobian
        log_weights = self.density(batch, latents, log_q) - log_q
        return log_weights.where(self.coordinates.are_inside(latents), -torch.inf)

    def _rescued(self, batch: Batch, start: DiagonalNormal, fit: Fit, generator: torch.Generator) -> tuple[Normal, Pilot]:
        """Fit those data again whose fits have not converged, and keep what is better."""
        rows = self._rows(~fit.has_converged)
        if len(rows) == 0:
            return fit.normal, fit.pilot
        again = self._fit_again(batch, rows, self.family.started(start).rows(rows), generator)
        better = again.pilot.elbo > fit.pilot.elbo[rows]
        chosen = rows[better]
        return fit.normal.replaced(chosen, again.normal.rows(better)), fit.pilot.replaced(chosen, again.pilot.at(better))

    def _fit_again(self, batch: Batch, rows: Tensor, start: Normal, generator: torch.Generator) -> Fit:
        return self.family.fit_again(self.scores, batch, rows, start, generator, needs_all_rows=self.chunks.layout.needs_all_rows)


def tail(dim: int) -> tuple[float, float]:
    """Return the degrees of freedom and the factor of the scale with which a fitted normal distribution becomes a proposal.

    In many dimensions, tails as heavy as in one would lie farther out than any draw should.
    """
    return dim + 4.0, 1 + min(0.9 / math.sqrt(dim), 4.6 / dim)
