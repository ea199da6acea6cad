"""The Pareto shape k-hat of importance weights, which shows whether an importance-sampled figure is reliable."""

from math import ceil, log, log10, nan, sqrt

import torch
from torch import Tensor

MIN_TAIL = 5
_BLOCK = 32  # data fitted at once, so that grids times tails fit the cache
_FLOAT64 = torch.finfo(torch.float64)


def tail_length(num_particles: int) -> int:
    r"""Return the number of the largest weights that form the tail, :math:`M = \lceil \min(K/5, 3\sqrt{K}) \rceil`."""
    return ceil(min(num_particles / 5, 3 * sqrt(num_particles)))


def pareto_k_threshold(num_particles: int) -> float:
    r"""Return the k-hat above which an importance-sampled figure is unreliable.

    .. math:: \min(1 - 1 / \log_{10} K,\; 0.7)

    Args:
        num_particles: Draws per datum, :math:`K`.

    Returns:
        The threshold; for K < 10 it is below zero, and no k-hat is low enough.

    Raises:
        ValueError: If K < 2.

    References:
        Vehtari, Simpson, Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling.
        https://arxiv.org/abs/1507.02646
    """
    if num_particles < 2:
        raise ValueError(f"num_particles must be at least 2; got {num_particles}. One weight has no tail.")
    return min(1 - 1 / log10(num_particles), 0.7)


def pareto_k(log_weights: Tensor) -> Tensor:
    r"""Estimate the Pareto shape of the largest importance weights of each datum.

    A generalized Pareto distribution is fitted to the excesses of the M largest weights w over the next one, u,

    .. math:: p(w - u > y) = (1 + k y / \sigma)^{-1/k}, \quad M = \lceil \min(K/5, 3\sqrt{K}) \rceil,

    with a weakly informative prior that draws k towards 1/2. Weights have a finite variance if k < 1/2 and a
    finite mean if k < 1. If fewer than five draws lie above u (always for K <= 20; also for constant
    weights, many ties, or almost only zero weights), nothing can be fitted.

    Args:
        log_weights: Log weights, shape ``[K, B]``; they need not be normalized.

    Returns:
        k-hat, float64, shape ``[B]``; NaN if nothing can be fitted.

    Raises:
        ValueError: If ``log_weights`` is not ``[K, B]`` or contains NaN or +inf.

    References:
        Vehtari, Simpson, Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling.
        https://arxiv.org/abs/1507.02646

        Zhang, Stephens (2009), A new and efficient estimation method for the generalized Pareto distribution.
        Technometrics 51(3).
    """
    check_log_weights(log_weights)
    num_particles = len(log_weights)
    if tail_length(num_particles) < MIN_TAIL:
        return log_weights.new_full(log_weights.shape[1:], nan, dtype=torch.float64)  # [B]
    largest = log_weights.double().topk(tail_length(num_particles) + 1, dim=0).values  # [M + 1, B]
    excess, size = _excesses(largest)
    blocks = zip(excess.split(_BLOCK, dim=1), size.split(_BLOCK), strict=True)
    k_hat = torch.cat([_generalized_pareto_shape(*block) for block in blocks])  # [B]
    return torch.where(size >= MIN_TAIL, k_hat, nan)


def check_log_weights(log_weights: Tensor) -> None:
    """Check that log weights are floating-point ``[K, B]`` and below +inf; -inf, a weight of zero, is valid."""
    if log_weights.dim() != 2 or len(log_weights) == 0 or not log_weights.is_floating_point():
        got = f"{log_weights.dtype} of shape {tuple(log_weights.shape)}"
        raise ValueError(f"log_weights must be floating-point with shape [K, B], K >= 1; got {got}. Put particles first, data second.")
    bad = ~(log_weights < torch.inf)
    if bad.any():
        rows = bad.any(dim=0).nonzero().flatten().tolist()
        raise ValueError(
            f"log_weights must be below +inf and not NaN; got other values for {len(rows)} of {bad.shape[1]} data, "
            f"the first at index {rows[0]}. Look for infinite or NaN parameters of the model or the guide."
        )


def _excesses(largest: Tensor) -> tuple[Tensor, Tensor]:
    """Return the excesses over the cutoff in units of the largest weight, descending and zero-padded, and their number."""
    relative = largest - largest[0]
    cutoff = relative[-1].clamp_min(log(_FLOAT64.tiny))  # [B]
    is_tail = relative[:-1] > cutoff  # [M, B]
    excess = torch.where(is_tail, relative[:-1].exp() - cutoff.exp(), 0.0)
    return excess, is_tail.sum(dim=0).double()


def _generalized_pareto_shape(excess: Tensor, size: Tensor) -> Tensor:
    """Return the posterior mean of k for the first ``size`` of the descending excesses ``[M, B]``."""
    theta = _theta_grid(excess, size)  # [J, B]
    shape = _profile_shape(theta, excess, size)  # [J, B]
    log_profile = size * ((-theta / shape).log() - shape - 1)
    weights = torch.where(theta.isnan(), -torch.inf, log_profile).softmax(dim=0)
    weights = torch.where(weights < 10 * _FLOAT64.eps, 0.0, weights)
    mean_theta = (weights * theta.nan_to_num()).sum(dim=0) / weights.sum(dim=0)  # [B]
    # the prior is worth ten draws at k = 1/2
    return (size * _profile_shape(mean_theta, excess, size) + 10 * 0.5) / (size + 10)


def _theta_grid(excess: Tensor, size: Tensor) -> Tensor:
    """Return Zhang and Stephens' quadrature points, whose number depends on the size of the tail; unused points are NaN."""
    num_points = 30 + size.sqrt().floor()  # [B]
    point = torch.arange(30 + int(sqrt(len(excess)))).to(size)[:, None] + 0.5  # [J, 1]
    rank = (size - (size / 4 + 0.5).floor()).long()  # [B]
    quartile = excess.gather(0, rank[None])  # [1, B]
    theta = (1 - (num_points / point).sqrt()) / (3 * quartile) + 1 / excess[0]  # [J, B]
    return torch.where(point < num_points, theta, nan)


def _profile_shape(theta: Tensor, excess: Tensor, size: Tensor) -> Tensor:
    """Return the shape that maximizes the likelihood at each ``theta`` = -k / sigma, ``[..., B]``."""
    return torch.log1p(-theta.unsqueeze(-2) * excess).sum(dim=-2) / size  # [..., M, B] to [..., B]
