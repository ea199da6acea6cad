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

_FEW_DIMS, NUM_PRIOR, _NUM_PRIOR_MANY = 8, 256, 32  # scouts, and draws from the prior, up to so many dimensions and above
MOST_MODES = 4  # that are fitted
_COARSE = 8.0  # scales of a fit, in units of rounding, that are too small
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


class Weighed(NamedTuple):
    """Log weights of draws, in float64.

    Attributes:
        inside: Those of draws inside of the latents' spaces, and -inf for the others, ``[K, R]``.
        on_edge: Those that the others would have if the density of the model were as it is next to the edge, ``[K, R]``.
    """

    inside: Tensor
    on_edge: Tensor

    def share_on_edge(self) -> Tensor:
        """Return the share of weight on edges, ``[R]``, which no draw inside stands for; NaN if there is none at all."""
        log_edge = self.on_edge.logsumexp(0)
        return (log_edge - torch.logaddexp(log_edge, self.inside.logsumexp(0))).exp()


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
        log_p, seen = self.pilot_density(batch, latents, log_q), self._seen(batch, scouts, generator, block_seed(seed, 3))
        guide, pilot = judged(log_p - log_q), judged(seen.log_p - seen.log_q)
        updated = self.family.first_update(self.scores, batch, self.family.started(start), generator)
        first = divergence(start, updated)
        outside = seen.share_outside(scouts.near.log_prob(seen.vector), guide.estimate)
        if not (self.is_forced or needs_fit(guide, outside, first, self.coordinates.dim).any()):
            return Fitted(None, torch.zeros_like(first, dtype=torch.bool), guide, None, pilot, outside)
        at_mode = start.around(likeliest(vector, log_p, start.loc))
        shape, normal = self._rescued(batch, at_mode, self.family.fit_all(self.scores, batch, updated, generator), generator)
        best = torch.maximum(guide.estimate, normal.estimate)
        parts, still = self._modes(batch, shape, start, scouts.near, seen, best, generator)
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
        self, batch: Batch, shape: Normal, start: DiagonalNormal, near: StudentT, seen: Seen, estimate: Tensor, generator: torch.Generator
    ) -> tuple[list[StudentT], list[Tensor]]:
        """Return the fitted component, and more from other starts, as long as scouts find mass elsewhere.

        With each comes the share of mass, by the scouts, that all components up to it do not reach, ``[R]``.
        """
        times = MANY_TIMES if self.coordinates.dim <= _FEW_DIMS else OUT_OF_REACH  # in many, a good fit has large weights too
        parts, still, reached = [], [], near.log_prob(seen.vector) + math.log(SAFE)
        while True:
            shape = self._resolved(shape, start)
            parts.append(StudentT(shape, *tail(self.coordinates.dim)))
            reached = torch.maximum(reached, parts[-1].log_prob(seen.vector))
            still.append(seen.share_outside(reached, estimate, times=times))
            missed = self._rows(still[-1] > OUTSIDE)
            if len(missed) == 0 or len(parts) == MOST_MODES:
                return parts, still
            other = shape.rows(missed).around(seen.heaviest_outside(reached, estimate, times=times)[missed])
            shape = shape.replaced(missed, self._fit_again(batch, missed, other, generator).normal)

    def _resolved(self, shape: Normal, default: DiagonalNormal) -> Normal:
        """Return fits, and the default instead of those that are too narrow for the numbers that the model sees."""
        resolution = _COARSE * torch.finfo(self.coordinates.dtype).eps * shape.loc.abs()
        rows = (~(shape.precisions.rsqrt() > resolution).all(1)).nonzero()[:, 0]
        return shape if len(rows) == 0 else shape.replaced(rows, self.family.started(default).rows(rows))

    def _rows(self, chosen: Tensor) -> Tensor:
        """Return the indices of chosen data; all of them if there are any and the pair needs all."""
        rows = chosen.nonzero()[:, 0]
        needs_all = len(rows) > 0 and self.chunks.layout.needs_all_rows
        return torch.arange(len(chosen), device=chosen.device) if needs_all else rows

    def log_weights(self, batch: Batch, fitted: Fitted, num_particles: int, seed: int) -> Tensor:
        """Return the log weights ``[K, R]`` of fresh draws from the proposals of a block, in float64."""
        return self.weighed(batch, fitted, num_particles, seed).inside

    def weighed(self, batch: Batch, fitted: Fitted, num_particles: int, seed: int) -> Weighed:
        """Return the log weights of fresh draws from the proposals of a block, and those that draws on an edge would have next to it."""
        particles, rows = self.chunks.block_shape(num_particles, batch)
        columns = []
        for index, some in enumerate(row_slices(len(batch[0]), rows)):
            part, column = tuple(x[some].contiguous() for x in batch), []
            for number, done in enumerate(range(0, num_particles, particles)):
                count, own_seed = min(particles, num_particles - done), block_seed(seed, 2, index, number)
                column.append(self._part(part, fitted, some, count, own_seed)[0])
            columns.append([torch.cat(values) for values in zip(*column, strict=True)])
        return Weighed(*(torch.cat(values, dim=1) for values in zip(*columns, strict=True)))

    def drawn(self, batch: Batch, fitted: Fitted, num_particles: int, seed: int) -> tuple[Weighed, Latents]:
        """Return fresh draws from the proposals of a block, ``[K, R, *Z]`` by site, and their log weights."""
        return self._part(batch, fitted, slice(None), num_particles, block_seed(seed, 4))

    def _part(self, batch: Batch, fitted: Fitted, rows: slice, count: int, seed: int) -> tuple[Weighed, Latents]:
        chosen = fitted.is_refined[rows]
        if fitted.mixture is None or not chosen.any():
            return self._guide_weighed(batch, count, seed)
        generator = torch.Generator(batch[0].device).manual_seed(seed)
        refined, latents = self._refined_weighed(batch, fitted.mixture.rows(rows), count, generator)
        if chosen.all():
            return refined, latents
        weighed, others = self._guide_weighed(batch, count, seed)
        mixed = {name: z.where(chosen.reshape(-1, *[1] * (z.dim() - 2)), others[name]) for name, z in latents.items()}
        return Weighed(*(torch.where(chosen, *both) for both in zip(refined, weighed, strict=True))), mixed

    def _guide_weighed(self, batch: Batch, count: int, seed: int) -> tuple[Weighed, Latents]:
        log_q, latents = self._guide_draws(batch, count, seed)
        log_weights = self.density(batch, latents, log_q) - log_q
        return Weighed(log_weights, torch.full_like(log_weights, -torch.inf)), latents

    def _guide_draws(self, batch: Batch, count: int, seed: int) -> tuple[Tensor, Latents]:
        with PYRO:
            seed_generators(batch[0].device, seed)
            log_q, latents = self.draws(batch, count)
        return log_q.double(), latents

    def _seen(self, batch: Batch, scouts: Scouts, generator: torch.Generator, seed: int) -> Seen:
        """Return what scouts see, and as many draws from the prior; in few dimensions, where they find more, there are many."""
        count = NUM_PRIOR if self.coordinates.dim <= _FEW_DIMS else _NUM_PRIOR_MANY
        with PYRO:
            seed_generators(batch[0].device, seed)
            drawn = self.coordinates.vector(self.eager.prior_draws(batch, self.coordinates.names, count))
        vector = torch.cat([scouts.sample(count, generator), drawn])
        inside = self.coordinates.are_inside(vector)
        vector = vector.where(inside[..., None], scouts.near.normal.loc)  # of no weight
        latents, log_jacobian = self.coordinates.latents(vector)
        log_prior, log_p = self.eager.prior_and_joint(batch, latents)
        log_drawn = torch.logaddexp(scouts.log_prob(vector), log_prior + log_jacobian) - math.log(2.0)
        is_known = inside & log_drawn.isfinite() & (log_p < torch.inf)
        return Seen(vector, log_drawn.where(is_known, 0.0), (log_p + log_jacobian).where(is_known, -torch.inf))

    def _refined_weighed(self, batch: Batch, mixture: Mixture, count: int, generator: torch.Generator) -> tuple[Weighed, Latents]:
        vector = mixture.sample(count, generator).to(self.coordinates.dtype).double()  # the numbers that the model sees
        inside, log_drawn = self.coordinates.are_inside(vector), mixture.log_prob(vector)
        if not inside.all():
            vector = self.coordinates.pulled_inside(vector, inside, mixture.components[0].normal.loc)
        latents, log_jacobian = self.coordinates.latents(vector)
        log_q = log_drawn - log_jacobian
        log_weights = self.density(batch, latents, log_q) - log_q
        return Weighed(log_weights.where(inside, -torch.inf), log_weights.where(~inside, -torch.inf)), latents

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
