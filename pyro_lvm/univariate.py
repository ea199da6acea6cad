r"""Univariate Pyro distributions that keep float32 accurate where torch's lose digits.

torch subtracts log gamma functions of nearly equal numbers: with a million degrees of freedom, or a negative
binomial that is almost a Poisson, a float32 log probability is off by up to a nat.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pyro import distributions as dist
from pyro.distributions import TorchDistribution, constraints
from torch import Size, Tensor

STIRLING_FROM = 16.0


class StudentT(dist.StudentT):
    r"""Student's t distribution, accurate for any number of degrees of freedom :math:`\nu`.

    .. math::
        \log p(x) = -\tfrac{\nu + 1}{2} \log\left(1 + \tfrac{1}{\nu} \left(\tfrac{x - \mu}{s}\right)^2\right)
            - \log s - \tfrac{1}{2} \log (\pi \nu)
            + \log \Gamma(\tfrac{\nu + 1}{2}) - \log \Gamma(\tfrac{\nu}{2})

    Args:
        df: Degrees of freedom :math:`\nu > 0`.
        loc: Location :math:`\mu`.
        scale: Scale :math:`s > 0`.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        df, scale = _unexpanded(self.df), _unexpanded(self.scale)
        squared = ((value - self.loc) / scale).square()
        log_gammas = log_gamma_ratio(0.5 * df, torch.full_like(df, 0.5))
        log_normalizer = scale.log() + 0.5 * (math.pi * df).log() - log_gammas
        return -0.5 * (df + 1.0) * torch.log1p(squared / df) - log_normalizer


class NegativeBinomial(dist.NegativeBinomial):
    r"""Negative binomial distribution, accurate for any total count :math:`r`.

    .. math::
        \log p(x) = \log \Gamma(x + r) - \log \Gamma(r) - \log x! + r \log \sigma(-l) + x \log \sigma(l)

    Args:
        total_count: :math:`r > 0`, real.
        logits: :math:`l`, the mean's logarithm less :math:`\log r`.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value = value.to(self.logits.dtype)
        total_count = _unexpanded(self.total_count)
        log_choices = log_gamma_ratio(total_count, value) - torch.lgamma(value + 1.0)
        return log_choices - total_count * softplus(self.logits) - value * softplus(-self.logits)


class LogRatePoisson(TorchDistribution):
    r"""Poisson distribution given by its log rate, so that the gradient never divides by a rate of zero.

    .. math:: \log p(x) = x \log \lambda - \lambda - \log x!

    Args:
        log_rate: :math:`\log \lambda`, ``[*batch]``.
    """

    arg_constraints = {"log_rate": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, log_rate: Tensor, *, validate_args: bool | None = None) -> None:
        self.log_rate = log_rate
        super().__init__(log_rate.shape, validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: LogRatePoisson | None = None) -> LogRatePoisson:
        new = self._get_checked_instance(LogRatePoisson, _instance)
        new.log_rate = self.log_rate.expand(batch_shape)
        super(LogRatePoisson, new).__init__(Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value = value.to(self.log_rate.dtype)
        return value * self.log_rate - self.log_rate.exp() - torch.lgamma(value + 1.0)

    def sample(self, sample_shape: Size = Size()) -> Tensor:
        with torch.no_grad():
            return torch.poisson(self.log_rate.exp().expand(self._extended_shape(sample_shape)))

    @property
    def mean(self) -> Tensor:
        return self.log_rate.exp()

    @property
    def variance(self) -> Tensor:
        return self.log_rate.exp()


def log_gamma_ratio(a: Tensor, b: Tensor) -> Tensor:
    r"""Logarithm of a ratio of gamma functions, by Stirling's series for large :math:`a`.

    .. math:: \log \Gamma(a + b) - \log \Gamma(a)

    Args:
        a: Positive, ``[*]``.
        b: Not negative, ``[*]``.

    Returns:
        ``[*]``.
    """
    direct = torch.lgamma(a + b) - torch.lgamma(a)
    # The branch not taken must be finite as well, or its gradient is NaN.
    base = a.clamp(min=STIRLING_FROM)
    total = base + b
    series = (base - 0.5) * torch.log1p(b / base) + b * (total.log() - 1.0)
    series = series + _stirling_remainder(total) - _stirling_remainder(base)
    return torch.where(a < STIRLING_FROM, direct, series)


def softplus(x: Tensor) -> Tensor:
    r""":math:`\log(1 + e^x)` to full precision in float64, where the default threshold is off by 2e-9."""
    return F.softplus(x, threshold=40.0)


def _unexpanded(x: Tensor) -> Tensor:
    r"""Keep one entry of each expanded dimension, so that what depends on few numbers is computed once."""
    return x[tuple(slice(1) if stride == 0 else slice(None) for stride in x.stride())]


def _stirling_remainder(x: Tensor) -> Tensor:
    inverse_square = x.reciprocal().square()
    return (1 / 12 - inverse_square * (1 / 360 - inverse_square / 1260)) / x
