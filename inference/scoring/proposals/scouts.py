"""Draws from all over the prior, and from mirror images of the guide, which show the mass that a proposal has missed."""

from dataclasses import dataclass
import math
from typing import NamedTuple

import torch
from torch import Tensor

from inference.scoring.proposals.normal import DiagonalNormal
from inference.scoring.proposals.student import Mixture, StudentT

MANY_TIMES, OUT_OF_REACH = 10.0, 100.0  # p(z|x) / q(z|x) where a fit is worth its time, and where K draws will not do


@dataclass(frozen=True)
class Scouts:
    """A wide proposal for each of R data: half has the prior's moments, half the guide's, with one coordinate mirrored at the prior.

    Posteriors that have several modes often owe them to such a symmetry, as of the sign of a factor.

    Args:
        near: A distribution of independent coordinates around the guide's draws.
        wide: One around the prior's.
    """

    near: StudentT
    wide: StudentT

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw ``[count, R, D]``."""
        draws, other = (_alone(each).sample(count, generator) for each in (self.near, self.wide))
        size, dim = draws.shape[:2], draws.shape[2]
        place = torch.randint(dim, (*size, 1), generator=generator, device=draws.device)
        mirrored = torch.where(torch.arange(dim, device=draws.device) == place, 2 * self.wide.normal.loc - draws, draws)
        is_wide = torch.rand((*size, 1), generator=generator, dtype=draws.dtype, device=draws.device) < 0.5
        return torch.where(is_wide, other, mirrored)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density ``[K, R]`` at values ``[K, R, D]``."""
        return torch.logaddexp(self.wide.log_prob(value), self._log_mirrored(value)) - math.log(2.0)

    def _log_mirrored(self, value: Tensor) -> Tensor:
        normal, dof, dim = self.near.normal, self.near.dof, value.shape[2]
        own = normal.whitened(value - normal.loc).square()  # [K, R, D]
        other = normal.whitened(2 * self.wide.normal.loc - value - normal.loc).square()
        squares = own.sum(2, keepdim=True) - own + other  # with each coordinate mirrored
        at_zero = self.near.log_prob(normal.loc[None])[..., None]
        return (at_zero - 0.5 * (dof + dim) * (squares / dof).log1p()).logsumexp(2) - math.log(dim)


def _alone(component: StudentT) -> Mixture:
    return Mixture((component,), torch.ones_like(component.normal.loc[None, :, 0]))


class Seen(NamedTuple):
    """What scouts have seen.

    Attributes:
        vector: Their draws, ``[P, R, D]``.
        log_q: Their own log density there, ``[P, R]``.
        log_p: log p(x, v) there, ``[P, R]``.
    """

    vector: Tensor
    log_q: Tensor
    log_p: Tensor

    def share_outside(self, log_q: Tensor, estimate: Tensor, *, times: float = MANY_TIMES) -> Tensor:
        """Return :func:`share_outside` of another log density at the draws, ``[R]``."""
        return share_outside(self.log_p, self.log_q, log_q, estimate, times=times)

    def heaviest_outside(self, log_q: Tensor, estimate: Tensor, *, times: float) -> Tensor:
        """Return the draw with the largest weight where another density is far too low, ``[R, D]``."""
        place = _log_outside(self.log_p, self.log_q, log_q, estimate, times).argmax(0)  # [R]
        return self.vector.take_along_dim(place[None, :, None], 0)[0]


def share_outside(log_p: Tensor, log_drawn: Tensor, log_q: Tensor, estimate: Tensor, *, times: float = MANY_TIMES) -> Tensor:
    r"""Estimate the share of p(z|x) that lies where it exceeds a proposal's density q many times.

    .. math:: P(p(z|x) > c \, q(z|x)), \quad z \sim p(z|x)

    Args:
        log_p: log p(x, z) at P draws for each datum, shape ``[P, R]``.
        log_drawn: Log density of the distribution that they come from, ``[P, R]``.
        log_q: log q(z|x) there, ``[P, R]``.
        estimate: Estimate of log p(x), ``[R]``; the draws' own, if that is larger.
        times: How many times, c.

    Returns:
        The share, ``[R]``.
    """
    return _log_outside(log_p, log_drawn, log_q, estimate, times).exp().mean(0)


def _log_outside(log_p: Tensor, log_drawn: Tensor, log_q: Tensor, estimate: Tensor, times: float) -> Tensor:
    own = (log_p - log_drawn).logsumexp(0) - math.log(len(log_p))
    posterior = (log_p - torch.maximum(estimate, own)).nan_to_num(nan=-torch.inf)
    return torch.where(posterior - log_q > math.log(times), posterior - log_drawn, -torch.inf)  # [P, R]


def around(normal: DiagonalNormal, prior: DiagonalNormal, dof: float) -> Scouts:
    """Make scouts from the guide's moments and the prior's ``[1, D]``, with heavy tails."""
    wide = DiagonalNormal(prior.loc.expand_as(normal.loc), prior.scale.expand_as(normal.loc))
    return Scouts(StudentT(normal, dof), StudentT(wide, dof))
