"""What a few draws say of a proposal: whether the guide suffices, whether a fit has converged, and what both have missed."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from inference.scoring.pareto import pareto_k
from inference.scoring.proposals.normal import DiagonalNormal, Normal
from inference.scoring.reduction import effective_sample_size

NUM_PILOT = 96  # draws from the guide, by which a datum is judged
_FAR = 7.0  # nats below the other estimates, from which on the broad component is left out
SAFE, _MISSED = 0.05, 0.5  # share of a safe component, and of the broad one where it finds mass that guide and fit have missed
_GOOD_K, _GOOD_ESS, _SMALL_STEP = 0.4, 0.5, 0.02  # of a guide that needs no refinement: k-hat, ESS / draws, nats of the first update
_TIE, _EVEN = 0.8, 0.9  # share of the fit's ESS that the guide must have to be kept, and ESS / draws of weights that hardly differ
_MANY = 4.0  # times the fit's ESS with which a guide is kept despite its k-hat, where ELBOs are infinite
_SAME = 1e-3  # nats by which ELBOs of equal proposals may differ by rounding
OUTSIDE = 0.02  # share of p(z|x) that a proposal may fail to reach


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


def judged(log_weights: Tensor) -> Pilot:
    """Summarize the log weights ``[P, R]`` of pilot draws."""
    count = len(log_weights)
    log_weights = log_weights.where(log_weights < torch.inf, -torch.inf)  # as on an edge of the latents' space
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
    """Return normal distributions with the mean and the variances of finite draws ``[P, R, D]``, or the prior's if of no use."""
    is_known = vector.isfinite().all(2, keepdim=True)
    count, vector = is_known.sum(0), vector.where(is_known, torch.nan)
    loc = vector.nanmean(0)
    scale = ((vector - loc).square().nansum(0) / (count - 1)).sqrt()
    is_usable = (loc.isfinite() & scale.isfinite() & (scale > 0)).all(1, keepdim=True)
    return DiagonalNormal(loc.where(is_usable, prior.loc), scale.where(is_usable, prior.scale))


def likeliest(vector: Tensor, log_p: Tensor, default: Tensor) -> Tensor:
    """Return the draw ``[R, D]`` of each datum, of P draws ``[P, R, D]``, where log p is highest; the default if it is not finite."""
    place = log_p.where(log_p.isfinite() & vector.isfinite().all(2), -torch.inf).argmax(0)  # [R]
    found = vector.take_along_dim(place[None, :, None], 0)[0]
    return found.where(found.isfinite().all(1, keepdim=True), default)


def divergence(start: DiagonalNormal, other: Normal) -> Tensor:
    """Return KL(start || other) of normal distributions in nats, shape ``[R]``."""
    ratio = other.precisions * start.scale.square()  # [R, D]
    shift = other.whitened((start.loc - other.loc)[None])[0]
    return 0.5 * (ratio + shift.square() - 1).sum(1) + other.log_scale - start.log_scale


def needs_fit(guide: Pilot, outside: Tensor, step: Tensor, dim: int) -> Tensor:
    """Return for which data the guide may be a bad proposal.

    The first update does not move an exact normal distribution, but one with the moments of P draws, whose divergence is D / P.
    """
    is_good = (guide.pareto_k <= _GOOD_K) & (guide.ess_share >= _GOOD_ESS) & (step <= _SMALL_STEP + 3 * dim / NUM_PILOT)
    return ~is_good | (outside > OUTSIDE)


def is_better(guide: Pilot, normal: Pilot, outside: Tensor) -> Tensor:
    """Return for which data the guide is a better proposal than what was fitted, as a flow may be.

    Args:
        guide: What draws from the guide say.
        normal: What draws from the fit say.
        outside: Share of mass that the guide does not reach, ``[R]``.
    """
    is_close = guide.elbo >= normal.elbo - 2 * (guide.elbo_error**2 + normal.elbo_error**2).sqrt() - _SAME
    has_light_tails = (guide.pareto_k <= _GOOD_K) | (guide.ess_share >= _EVEN)  # k-hat of weights that hardly differ says nothing
    is_infinite = ~(guide.elbo.isfinite() & normal.elbo.isfinite())  # a single weight of zero, as at hard edges, says little
    is_close, has_light_tails = is_close | is_infinite, has_light_tails | (is_infinite & (guide.ess_share >= _MANY * normal.ess_share))
    return is_close & has_light_tails & (guide.ess_share >= _TIE * normal.ess_share) & (outside <= OUTSIDE)


def shares(excess: Tensor, outside: list[Tensor]) -> Tensor:
    """Return the shares ``[C, R]`` of the components: those fitted, that with the guide's moments, and that with the prior's.

    Args:
        excess: Estimate of log p(x) from the last component's draws over the other estimates, ``[R]``.
        outside: Share of mass that is not reached by the components up to each fitted one, ``[R]``; a further one is used only where the
            former ones miss mass.
    """
    last = torch.where(excess < -_FAR, 0.0, SAFE).to(excess)
    last = last.where(outside[-1] <= OUTSIDE, _MISSED)
    is_used = torch.stack([torch.ones_like(last), *(share > OUTSIDE for share in outside[:-1])])
    fitted = (1 - SAFE - last) * is_used / is_used.sum(0)
    return torch.cat([fitted, torch.full_like(last, SAFE)[None], last[None]])
