"""Special functions."""

from __future__ import annotations

import torch
from torch import Tensor
import torch.nn.functional as F

STIRLING_FROM = 16.0


def log_gamma_ratio(a: Tensor, b: Tensor) -> Tensor:
    r"""Logarithm of a ratio of gamma functions, by Stirling's series for large :math:`a`.

    .. math:: \log \Gamma(a + b) - \log \Gamma(a)

    Args:
        a: Positive, ``[*]``.
        b: Nonnegative, ``[*]``.

    Returns:
        ``[*]``.
    """
    direct = torch.lgamma(a + b) - torch.lgamma(a)
    # The branch not taken must be finite as well; otherwise its gradient is NaN.
    base = a.clamp(min=STIRLING_FROM)
    total = base + b
    series = (base - 0.5) * torch.log1p(b / base) + b * (total.log() - 1.0)
    series = series + _stirling_remainder(total) - _stirling_remainder(base)
    return torch.where(a < STIRLING_FROM, direct, series)


def at_least_float32(x: Tensor) -> Tensor:
    r"""A tensor in float32 if it has half precision, in which sums and products of many terms lose digits or overflow."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def softplus(x: Tensor) -> Tensor:
    r""":math:`\log(1 + e^x)` to full precision in float64, where torch's default threshold makes an error of 2e-9."""
    return F.softplus(x, threshold=40.0)


def unexpanded(x: Tensor) -> Tensor:
    r"""One entry of each expanded dimension, so that functions of repeated numbers are computed only once."""
    return x[tuple(slice(1) if stride == 0 else slice(None) for stride in x.stride())]


def _stirling_remainder(x: Tensor) -> Tensor:
    inverse_square = x.reciprocal().square()
    return (1 / 12 - inverse_square * (1 / 360 - inverse_square / 1260)) / x
