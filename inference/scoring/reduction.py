"""Reduce log weights over the particles."""

from math import nan, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from inference.scoring.pareto import check_log_weights, pareto_k


class WeightSummary(NamedTuple):
    """The result of :func:`reduce_log_weights`; float64 tensors on the CPU."""

    log_px: Tensor
    mc_error: Tensor
    ess: Tensor
    pareto_k: Tensor
    elbo: Tensor
    curve: Tensor


class Rounding(NamedTuple):
    """Mean and largest absolute error of log p-hat from products in a lower precision, in nats, measured on a subset of the data."""

    rounding_bias: float = 0.0
    rounding_error: float = 0.0


def curve_particles(num_particles: int) -> tuple[int, ...]:
    """Return the numbers of draws at which a curve is recorded: 1, 2, 5, 10, 20, 50, ..., half of K, and K itself."""
    steps = {digit * 10**power for power in range(len(str(num_particles))) for digit in (1, 2, 5)}
    return (*sorted(step for step in steps | {num_particles // 2} if 0 < step < num_particles), num_particles)


def reduce_log_weights(log_weights: Tensor, *, is_bound: bool | None = None) -> WeightSummary:
    r"""Reduce log weights over the particles to the log-likelihood, ELBO and diagnostics of each datum.

    .. math::
        \log \hat p = \log \frac{1}{K} \sum_k w_k, \quad
        \mathrm{ESS} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2}, \quad
        \mathrm{mc\_error} = \sqrt{\frac{K}{K - 1} \left( \frac{1}{\mathrm{ESS}} - \frac{1}{K} \right)}

    The error is that of the logarithm, by the delta method, and holds where k-hat is well below 1/2; see
    :func:`~inference.scoring.intervals.datum_interval` for the others. If all weights of a datum are zero, its log-likelihood is -inf,
    its ESS 0 and its error infinite.

    Args:
        log_weights: Log weights in nats, shape ``[K, B]``.
        is_bound: Whether log p(x) is only bounded, as by a deterministic guide; by default, True for a single particle. A single
            particle that is not a bound is exact, with an error of zero.

    Returns:
        ``log_px``, ``mc_error``, ``ess``, ``pareto_k`` and ``elbo`` (the mean log weight), each ``[B]``, and
        ``curve`` ``[J, B]``, the log-likelihood from the first :func:`curve_particles` draws. Error, ESS and
        k-hat of a bound are NaN.

    Raises:
        ValueError: If ``log_weights`` is not ``[K, B]`` or contains NaN or +inf.

    References:
        Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders.
        https://arxiv.org/abs/1509.00519
    """
    check_log_weights(log_weights)
    log_weights = log_weights.detach().double()
    num_particles = len(log_weights)
    is_bound = num_particles == 1 if is_bound is None else is_bound
    curve = _running_log_mean(log_weights)
    mc_error = ess = k_hat = torch.full_like(curve[-1], nan)
    if not is_bound:
        ess = effective_sample_size(log_weights)
        k_hat = pareto_k(log_weights)
        mc_error = _error_of_logarithm(ess, num_particles)
    reduced = (curve[-1], mc_error, ess, k_hat, log_weights.mean(dim=0), curve)
    return WeightSummary(*(tensor.cpu() for tensor in reduced))


def _running_log_mean(log_weights: Tensor) -> Tensor:
    """Return log p-hat from the first 1, 2, 5, ... draws, shape ``[J, B]``."""
    counts = torch.tensor(curve_particles(len(log_weights)))
    blocks = log_weights.split(counts.diff(prepend=counts.new_zeros(1)).tolist())
    log_sums = torch.stack([block.logsumexp(dim=0) for block in blocks]).logcumsumexp(dim=0)  # [J, B]
    return log_sums - counts.to(log_sums).log()[:, None]


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """Return the effective sample size of log weights ``[K, B]``, shape ``[B]``; 0 if all weights are zero."""
    log_sum = log_weights.logsumexp(dim=0)  # [B]
    ess = (2 * log_sum - (2 * log_weights).logsumexp(dim=0)).exp()
    return torch.where(log_sum == -torch.inf, 0.0, ess)


def _error_of_logarithm(ess: Tensor, num_particles: int) -> Tensor:
    if num_particles == 1:
        return torch.zeros_like(ess)
    # rounding may let the ESS of equal weights exceed K
    excess = (1 / ess - 1 / num_particles).clamp_min(0)
    return (excess * num_particles / (num_particles - 1)).sqrt()


def standard_error_of_mean(values: Tensor) -> float:
    """Return the standard error of a mean over data, std / sqrt(N); NaN for a single datum or infinite values."""
    return float(values.std()) / sqrt(len(values)) if len(values) > 1 else nan
