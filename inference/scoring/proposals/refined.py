"""Proposals refined for each datum: from the guide's draws to a mixture around the posterior, then fresh draws from it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import math
from typing import NamedTuple

import torch
from torch import Tensor

from inference.densities.layout import Latents
from inference.densities.unconstrained import Coordinates
from inference.numerics import block_seed, row_slices, seed_generators
from inference.scoring.chunks import Chunks
from inference.scoring.eager import PYRO, Draws, Scores
from inference.scoring.pareto import pareto_k
from inference.scoring.proposals.matching import matched
from inference.scoring.proposals.normal import DiagonalNormal, FullNormal, log_density
from inference.scoring.proposals.student import Mixture, StudentT
from inference.scoring.reduction import effective_sample_size
from pyro_lvm.pair import Batch

NUM_PILOT = 128  # draws from the guide, and as many from the broad component, by which a datum is judged
NUM_STEPS, NUM_DRAWS = 50, 8  # updates, and draws for each, of batch and match
NUM_JUDGED = 64  # draws of the last updates, by which the fit is compared with the guide
_RATE = 16.0  # of the first update, in units of its draws
_POOR, _MORE_STEPS, _MORE_DRAWS = (
    0.3,
    10,
    16,
)  # squared drift of a poor fit; updates of another one, and draws besides D
_HEAVY = 5.0  # degrees of freedom of the safe components
_SAFE = 0.1  # share of a safe component
_FAR = 7.0  # nats below the other estimates, from which on the broad component is left out
_MISSED = 0.5  # share of the broad component where its draws find mass that guide and fit have missed
_GOOD_K, _GOOD_ESS, _SMALL_STEP = 0.4, 0.5, 0.02  # of a guide that needs no refinement: k-hat, ESS / draws, nats of the first update
_TIE = 0.8  # share of the fit's ESS that the guide must have to be kept
_CLEAR, _MORE = 3.0, 0.2  # standard errors, and nats, by which one estimate must exceed another


Density = Callable[[Batch, Latents, Tensor], Tensor]


class Pilot(NamedTuple):
    """What a few draws from a proposal say of it.

    Attributes:
        estimate: log p-hat(x), shape ``[R]``.
        error: Its standard error, by the delta method.
        ess_share: Effective sample size over the number of draws.
        elbo: Mean log weight.
        elbo_error: Its standard error.
        pareto_k: Pareto shape of the largest weights.
    """

    estimate: Tensor
    error: Tensor
    ess_share: Tensor
    elbo: Tensor
    elbo_error: Tensor
    pareto_k: Tensor

    def at(self, rows: Tensor) -> "Pilot":
        """Return what is known of some of the data."""
        return Pilot(*(value[rows] for value in self))

    def replaced(self, rows: Tensor, other: "Pilot") -> "Pilot":
        """Return the same with other values at some of the data."""
        return Pilot(*(value.index_copy(0, rows, new) for value, new in zip(self, other, strict=True)))


class Step(NamedTuple):
    r"""One update of batch and match.

    Attributes:
        normal: The updated distributions N(m, S).
        log_weights: Log weights of the draws from the distributions before it, shape ``[B, R]``.
        drift: Mean over these draws of the difference of scores in units of the standard deviations,
            :math:`L^T (\nabla \log p - \nabla \log q)` with :math:`S = L L^T`, shape ``[R, D]``.
    """

    normal: FullNormal
    log_weights: Tensor
    drift: Tensor


class Fitted(NamedTuple):
    """The proposals of a block of R data.

    Attributes:
        mixture: The refined proposals, or None if no datum needs one.
        is_refined: For which data the refined proposal is used, ``[R]``; for the others, it is the guide.
        guide: What pilot draws say of the guide.
        normal: What the last draws say of the fitted normal distribution, or None if none was fitted.
        broad: What draws from the prior's moments say.
    """

    mixture: Mixture | None
    is_refined: Tensor
    guide: Pilot
    normal: Pilot | None
    broad: Pilot


@dataclass(frozen=True)
class Refiner:
    r"""Fits a proposal to the posterior of each datum, and draws from it.

    A normal distribution N(m, S) of all latents in unconstrained space starts at the moments of draws from the guide, and is fitted to
    p(z|x) by :func:`~inference.scoring.proposals.matching.matched`. The proposal is a mixture of Student's t distributions: one with this
    location and scale, a tenth with the guide's moments and, unless it is hopeless, one with the prior's moments, which finds other modes.
    The guide itself is used where its pilot draws are the better ones.

    Attributes:
        coordinates: The latents as one unconstrained vector.
        draws: Draws from the guide.
        pilot_density: Log density of the model at pilot draws.
        density: Log density of the model at the draws of a score.
        scores: Log density at unconstrained vectors, and its gradients.
        chunks: How draws are divided into blocks.
        prior: Normal distribution with the prior's moments, ``[1, D]``.
        is_forced: Whether all data are refined.
    """

    coordinates: Coordinates
    draws: Draws
    pilot_density: Density
    density: Density
    scores: Scores
    chunks: Chunks
    prior: DiagonalNormal
    is_forced: bool = False

    def fit(self, batch: Batch, seed: int) -> Fitted:
        """Fit the proposals of a block of data; they depend only on the seed."""
        generator = torch.Generator(batch[0].device).manual_seed(block_seed(seed, 0))
        log_q, latents = self._guide_draws(batch, NUM_PILOT, block_seed(seed, 1))
        guide = judged(self.pilot_density(batch, latents, log_q) - log_q)
        start = moments(self.coordinates.vector(latents), self.prior)
        wide = StudentT(DiagonalNormal(self.prior.loc.expand_as(start.loc), self.prior.scale.expand_as(start.loc)), _HEAVY)
        alone = Mixture((wide,), torch.ones_like(start.loc[None, :, 0]))
        broad = judged(self._log_weights(self.pilot_density, batch, alone, NUM_PILOT, generator))
        steps = self._steps(batch, start.full(), generator, NUM_STEPS, NUM_DRAWS, rate)
        first = next(steps).normal
        if not (self.is_forced or _needs_fit(guide, broad, divergence(start, first), self.coordinates.dim).any()):
            return Fitted(None, torch.zeros_like(start.loc[:, 0], dtype=torch.bool), guide, None, broad)
        shape, normal = self._rescued(batch, start, *_last(steps), generator)
        parts = StudentT(shape, *tail(self.coordinates.dim)), StudentT(start, _HEAVY), wide
        is_refined = torch.full_like(normal.elbo, self.is_forced, dtype=torch.bool) | ~_is_better(guide, normal, broad)
        return Fitted(Mixture(parts, _shares(guide, normal, broad)), is_refined, guide, normal, broad)

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
            log_q, latents = self._guide_draws(batch, count, seed)
            return self.density(batch, latents, log_q) - log_q
        generator = torch.Generator(batch[0].device).manual_seed(seed)
        log_weights = self._log_weights(self.density, batch, fitted.mixture.rows(rows), count, generator)
        if chosen.all():
            return log_weights
        log_q, latents = self._guide_draws(batch, count, seed)
        return torch.where(chosen, log_weights, self.density(batch, latents, log_q) - log_q)

    def _guide_draws(self, batch: Batch, count: int, seed: int) -> tuple[Tensor, Latents]:
        with PYRO:
            seed_generators(batch[0].device, seed)
            log_q, latents = self.draws(batch, count)
        return log_q.double(), latents

    def _log_weights(self, density: Density, batch: Batch, mixture: Mixture, count: int, generator: torch.Generator) -> Tensor:
        vector = mixture.sample(count, generator)
        latents, log_jacobian = self.coordinates.latents(vector)
        log_q = mixture.log_prob(self.coordinates.vector(latents)) - log_jacobian
        return density(batch, latents, log_q) - log_q

    def _rescued(
        self, batch: Batch, start: DiagonalNormal, shape: FullNormal, normal: Pilot, drift: Tensor, generator: torch.Generator
    ) -> tuple[FullNormal, Pilot]:
        """Fit those data again, with more draws than dimensions, whose fits are poor, and keep what is better."""
        poor = ((drift > _POOR) | drift.isnan()).nonzero()[:, 0]
        if len(poor) == 0:
            return shape, normal
        if self.chunks.layout.needs_all_rows:
            poor = torch.arange(len(batch[0]), device=poor.device)
        elif len(poor) == 1 < len(batch[0]):  # a program may drop a dimension of one row
            poor = torch.cat([poor, (poor + 1) % len(batch[0])])
        some, before = tuple(x[poor.to(x.device)] for x in batch), start.full().at(poor)
        draws = self.coordinates.dim + _MORE_DRAWS
        *_, closer = self._steps(some, before, generator, _MORE_STEPS, draws, lambda step: draws * self.coordinates.dim / (step + 1))
        again, judgement, _ = _last(self._steps(some, closer.normal, generator, NUM_STEPS, NUM_DRAWS, rate))
        better = judgement.elbo > normal.elbo[poor]
        return shape.replaced(poor[better], again.at(better)), normal.replaced(poor[better], judgement.at(better))

    def _steps(
        self, batch: Batch, normal: FullNormal, generator: torch.Generator, count: int, num_draws: int, rate: Callable[[int], float]
    ) -> Iterator[Step]:
        """Yield the updates of normal distributions."""
        for step in range(count):
            shape = (num_draws, *normal.loc.shape)
            noise = torch.randn(shape, generator=generator, dtype=normal.loc.dtype, device=normal.loc.device)
            draws = normal.loc + normal.colored(noise)
            log_p, scores = self.scores(batch, draws)
            log_weights = log_p.double() - log_density(normal, draws)
            drift = normal.uncolored(scores.double()).mean(0) + noise.mean(0)  # [R, D]
            normal = matched(normal, draws, scores.double(), rate(step))
            yield Step(normal, log_weights, drift)


def _last(steps: Iterator[Step]) -> tuple[FullNormal, Pilot, Tensor]:
    """Return the last normal distribution of some updates, and what the last draws say of it: weights, and how far it is off."""
    last = list(steps)[-(NUM_JUDGED // NUM_DRAWS) :]
    return (
        last[-1].normal,
        judged(torch.cat([step.log_weights for step in last])),
        torch.stack([step.drift for step in last]).mean(0).square().sum(1),
    )


def rate(step: int) -> float:
    """Return the rate of an update of batch and match: at first large, for starts that are far off, later small, to average over draws."""
    return _RATE * NUM_DRAWS / (step + 1) ** 2


def judged(log_weights: Tensor) -> Pilot:
    """Summarize the log weights ``[P, R]`` of pilot draws."""
    count = len(log_weights)
    log_weights = log_weights.where(~log_weights.isnan(), -torch.inf)
    share = effective_sample_size(log_weights) / count
    return Pilot(
        estimate=log_weights.logsumexp(0) - math.log(count),
        error=((1 / share - 1).clamp_min(0) / count).sqrt(),
        ess_share=share,
        elbo=log_weights.mean(0),
        elbo_error=log_weights.std(0) / math.sqrt(count),
        pareto_k=pareto_k(log_weights),
    )


def moments(vector: Tensor, prior: DiagonalNormal) -> DiagonalNormal:
    """Return normal distributions with the mean and the variances of draws ``[P, R, D]``, or the prior's where these are of no use."""
    loc, scale = vector.mean(0), vector.std(0)
    is_usable = (loc.isfinite() & scale.isfinite() & (scale > 0)).all(1, keepdim=True)
    return DiagonalNormal(loc.where(is_usable, prior.loc), scale.where(is_usable, prior.scale))


def tail(dim: int) -> tuple[float, float]:
    """Return the degrees of freedom and the factor of the scale with which a fitted normal distribution becomes a proposal.

    In many dimensions, tails as heavy as in one would lie farther out than any draw should.
    """
    return dim + 4.0, 1 + 0.6 / math.sqrt(dim)


def divergence(start: DiagonalNormal, other: FullNormal) -> Tensor:
    """Return KL(start || other) of normal distributions in nats, shape ``[R]``."""
    ratio = other.inverse * start.scale[:, None]  # [R, D, D]
    shift = other.whitened((start.loc - other.loc)[None])[0]
    return 0.5 * (ratio.square().sum((1, 2)) + shift.square().sum(1) - shift.shape[1]) + other.log_scale - start.log_scale


def _needs_fit(guide: Pilot, broad: Pilot, step: Tensor, dim: int) -> Tensor:
    """Return for which data the guide may be a bad proposal.

    The first update does not move an exact normal distribution, but one with the moments of P draws, whose divergence is D / P.
    """
    is_good = (guide.pareto_k <= _GOOD_K) & (guide.ess_share >= _GOOD_ESS) & (step <= _SMALL_STEP + 3 * dim / NUM_PILOT)
    return ~is_good | _finds_more(broad, guide)


def _is_better(guide: Pilot, normal: Pilot, broad: Pilot) -> Tensor:
    """Return for which data the guide is a better proposal than what was fitted, as a flow may be."""
    is_close = guide.elbo >= normal.elbo - 2 * (guide.elbo_error**2 + normal.elbo_error**2).sqrt()
    return is_close & (guide.ess_share >= _TIE * normal.ess_share) & (guide.pareto_k <= _GOOD_K) & ~_finds_more(broad, guide)


def _finds_more(broad: Pilot, other: Pilot) -> Tensor:
    """Return for which data draws from the prior's moments find mass that another proposal has missed."""
    return broad.estimate - other.estimate > _MORE + _CLEAR * (broad.error**2 + other.error**2).sqrt()


def _shares(guide: Pilot, normal: Pilot, broad: Pilot) -> Tensor:
    """Return the shares ``[3, R]`` of the components: fitted, with the guide's moments, and with the prior's."""
    is_hopeless = broad.estimate < torch.maximum(guide.estimate, normal.estimate) - _FAR
    last = torch.where(is_hopeless, 0.0, _SAFE).to(guide.estimate)
    last = last.where(~(_finds_more(broad, guide) & _finds_more(broad, normal)), _MISSED)
    return torch.stack([1 - _SAFE - last, torch.full_like(last, _SAFE), last])
