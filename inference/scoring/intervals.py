"""How far estimates of log p(x) may be off: intervals that hold for heavy-tailed weights too, and the bias of a mean."""

from math import inf
from statistics import NormalDist
from typing import Generic, NamedTuple, TypeVar

from scipy.special import stdtrit
import torch
from torch import Tensor

from inference.scoring.pareto import MIN_TAIL, tail_length

LEVEL = 0.95
Ends = TypeVar("Ends", float, Tensor)
_FINITE_VARIANCE = 0.5  # Pareto shape of the weights below which errors and biases follow the delta method
_STEEPEST = 0.8  # shape from which on a bias is not extrapolated further; doubling K would lower it by a sixth only
_SHAPE_ERRORS = 2.0  # standard errors, at least, by which k-hat may be too low
_TINY = torch.finfo(torch.float64).eps


class Interval(NamedTuple, Generic[Ends]):
    """The ends of a confidence interval, in nats."""

    lower: Ends
    upper: Ends


class DrawErrors(NamedTuple):
    """What the draws do to a mean of log p-hat(x): its bias, 0 or less, with an error; its standard error, with degrees of freedom."""

    bias: Tensor
    bias_error: Tensor
    error: Tensor
    degrees: Tensor


def tail_shape(pareto_k: Tensor, ess: Tensor, mc_error: Tensor, num_particles: int) -> Tensor:
    """Return k-hat, with NaN replaced: by inf where the tail is unknown, and by -inf where the weights hardly differ.

    Args:
        pareto_k: k-hat, shape ``[N]``.
        ess: Effective sample size, shape ``[N]``.
        mc_error: Standard error of log p-hat, shape ``[N]``.
        num_particles: Draws per datum, K; up to 20, every tail is unknown.
    """
    is_unknown = (mc_error > 0) & ((ess < MIN_TAIL) | (tail_length(num_particles) < MIN_TAIL))
    return torch.where(pareto_k.isnan(), torch.where(is_unknown, inf, -inf), pareto_k)


def datum_interval(log_px: Tensor, mc_error: Tensor, shape: Tensor, *, num_particles: int, level: float = LEVEL) -> Interval[Tensor]:
    r"""Return an interval for log p(x) of each datum, which reaches further upwards the heavier the tail of the weights may be.

    .. math::
        \left[\log \hat p - z e,\; \log \hat p + z c e + \tfrac12 (c e)^2\right], \quad
        c = \max\left(1, \frac{1}{2 (1 - \kappa)}\right), \quad
        \kappa = \hat k + \max(z, 2) \frac{1 + \hat k}{\sqrt M}

    Here e is ``mc_error``, z a normal quantile, and :math:`\kappa` an upper confidence limit of the Pareto shape fitted to the M largest
    weights, as :math:`(1 + k) / \sqrt M` is the asymptotic error of its estimate. The mean excess of weights of shape
    :math:`\kappa` is proportional to :math:`1 / (1 - \kappa)`; c is that relative to :math:`\kappa = 1/2`, up to which the weights
    have a finite variance and the delta method holds. For :math:`\kappa \ge 1` they may have no mean, and there is no upper end. That
    these intervals hold is a result of simulations: see ``docs/decisions.md``.

    Args:
        log_px: log p-hat(x), shape ``[...]``.
        mc_error: Its standard error by the delta method, shape ``[...]``; NaN for bounds, which have no interval.
        shape: The result of :func:`tail_shape`, shape ``[...]``.
        num_particles: Draws per datum, K.
        level: Probability that the interval contains log p(x).

    Raises:
        ValueError: If ``level`` is not between 0 and 1.
    """
    check_level(level)
    z = NormalDist().inv_cdf((1 + level) / 2)
    limit = shape + max(z, _SHAPE_ERRORS) * (1 + shape.clamp_min(0)) / tail_length(num_particles) ** 0.5
    factor = (_FINITE_VARIANCE / (1 - limit).clamp_min(0)).clamp_min(1)
    above = torch.where(factor.isinf(), inf, factor * mc_error)
    upper = torch.where(above.isinf(), inf, log_px + z * above + above.square() / 2)
    return Interval(log_px - z * mc_error, upper)


def first_half_share(curve: Tensor, counts: tuple[int, ...]) -> Tensor | None:
    """Return the share of all K weights' sum that the first K // 2 have, ``[N]``; None if the curve lacks either.

    Args:
        curve: log p-hat from the first draws, shape ``[J, N]``.
        counts: Their J numbers; files of earlier versions may lack K // 2.
    """
    num_particles = counts[-1]
    if num_particles < 2 or num_particles // 2 not in counts:
        return None
    first = curve[counts.index(num_particles // 2)]
    share = (first - curve[-1]).exp() * (num_particles // 2) / num_particles
    return torch.where(curve[-1] == -inf, 0.5, share)


def halves(share: Tensor, num_particles: int) -> tuple[Tensor, Tensor]:
    r"""Return how far log p-hat lies above the mean of that of the two halves of the draws, and half the difference of these.

    .. math::
        \mathrm{rise} = \log \hat p_K - \tfrac12 (\log \hat p_\mathrm{first} + \log \hat p_\mathrm{second}) \ge 0

    If K is odd, the mean is weighted by the numbers of draws. The expectation of the rise is by how much closer to log p(x) the estimate
    comes when K/2 draws are doubled. A half without any weight counts as one with a share of 2e-16.

    Args:
        share: The result of :func:`first_half_share`, shape ``[...]``.
        num_particles: Draws per datum, K.
    """
    part = num_particles // 2 / num_particles
    first = (share.clamp_min(_TINY) / part).log()
    second = ((1 - share).clamp_min(_TINY) / (1 - part)).log()
    rise = -(part * first + (1 - part) * second)
    return rise.clamp_min(0), (first - second).abs() / 2  # rounding may let it fall below zero


def errors_of_mean(mc_error: Tensor, shape: Tensor, share: Tensor | None, num_particles: int) -> DrawErrors:
    r"""Estimate what the draws do to a mean of log p-hat over data: mostly, they make it too low.

    .. math::
        \mathrm E \log \hat p - \log p \approx -\frac{b}{2^\gamma - 1}, \quad
        \operatorname{Var} \log \hat p \approx 2^{1 - \gamma} v, \quad
        \gamma = \min(1, 1/k - 1)

    Bias and variance fall as :math:`K^{-\gamma}`: for k > 1/2 through :math:`K \cdot K^{-1/k}`, the probability that one weight is as
    large as the sum of all. Their sizes b and v are found in two ways, of which the larger is taken for the mean: by the second order of
    the delta method, :math:`e^2/2` and :math:`e^2`, and by the :func:`halves` of the draws, rise and squared half difference. Beyond
    k = 0.8 the rate of 0.8 is used, so that the bias of data with such a k-hat, which are marked as unreliable, may be larger. With 20
    draws or fewer, no k-hat is known, and finite variances are assumed. A few data often bring most of the error, so that its degrees
    of freedom are those of an effective number of data, :math:`(\sum e^2)^2 / \sum e^4 - 1`, at least 1.

    Args:
        mc_error: Standard error e of each log p-hat by the delta method, shape ``[..., N]``.
        shape: The result of :func:`tail_shape`, shape ``[..., N]``.
        share: The result of :func:`first_half_share`, shape ``[..., N]``, or None.
        num_particles: Draws per datum, K.

    Returns:
        Figures of the mean over the last dimension, each ``[...]``.
    """
    steepest = _STEEPEST if tail_length(num_particles) >= MIN_TAIL else _FINITE_VARIANCE
    rate = 1 / shape.clamp(_FINITE_VARIANCE, steepest) - 1  # [..., N]
    sizes = [(mc_error.square() / 2, mc_error.square())]
    if share is not None:
        rise, half_difference = halves(share, num_particles)
        sizes.append((rise, half_difference.square()))
    shortfall = _largest_in_mean([size / (2**rate - 1) for size, _ in sizes])
    variance = _largest_in_mean([size * 2 ** (1 - rate) for _, size in sizes])
    size = mc_error.shape[-1]
    bias_error, error = shortfall.std(-1, correction=0) / size**0.5, variance.mean(-1).sqrt() / size**0.5
    degrees = mc_error.square().sum(-1).square() / mc_error.pow(4).sum(-1) - 1
    return DrawErrors(-shortfall.mean(-1), bias_error, error, degrees.nan_to_num(size - 1).clamp_min(1))


def mean_interval(
    mean: Tensor, standard_error: Tensor, draws: DrawErrors, *, degrees: Tensor | float, level: float = LEVEL
) -> Interval[Tensor]:
    r"""Return an interval for a mean over data of log p(x), whose upper end allows for the bias B of the estimate.

    .. math:: \left[m - t s,\; m - B + t \sqrt{s^2 + s_B^2}\right]

    Args:
        mean: Mean m of log p-hat over the data, shape ``[...]``.
        standard_error: Its standard error s, ``[...]``: that over the data (the scatter of the draws is part of it) for the mean of the
            population that the data are from, or that of the draws for the mean of these data.
        draws: Bias B, 0 or less, and its error, each ``[...]``.
        degrees: Degrees of freedom of the standard error, ``[...]``; t is a quantile of Student's t distribution.
        level: Probability that the interval contains the mean.

    Returns:
        The ends, ``[...]``; the whole line if the mean is infinite, and NaN for bounds and for a standard error that is NaN.

    Raises:
        ValueError: If ``level`` is not between 0 and 1.
    """
    t = student_quantile(degrees, level)
    upper = mean - draws.bias + t * standard_error.hypot(draws.bias_error)
    return Interval(
        torch.where(mean.isinf(), -inf, mean - t * standard_error),
        torch.where(mean.isinf(), inf, upper),
    )


def student_quantile(degrees: Tensor | float, level: float = LEVEL) -> Tensor:
    """Return how many standard errors on either side of zero hold a share ``level`` of Student's t distribution, for any shape of degrees.

    Raises:
        ValueError: If ``level`` is not between 0 and 1.
    """
    check_level(level)
    return torch.as_tensor(stdtrit(torch.as_tensor(degrees).double().numpy(), (1 + level) / 2))


def check_level(level: float) -> None:
    """Check that a confidence level is between 0 and 1.

    Raises:
        ValueError: If it is not.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1; got {level}. Use 0.95 for a 95% interval.")


def _largest_in_mean(candidates: list[Tensor]) -> Tensor:
    """Return, of tensors ``[..., N]``, the one whose mean over the last dimension is the largest, or NaN."""
    stacked = torch.stack(candidates)  # [C, ..., N]
    return stacked.take_along_dim(stacked.mean(-1, keepdim=True).argmax(0, keepdim=True), 0)[0]
