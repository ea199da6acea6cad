"""Distributions of counts that are accurate in float32 where torch's lose digits."""

from __future__ import annotations

from pyro import distributions as dist
from pyro.distributions import TorchDistribution, constraints
import torch
from torch import Size, Tensor

from pyro_lvm.distributions import SizeLike
from pyro_lvm.distributions.special import log_gamma_ratio, softplus, unexpanded


class NegativeBinomial(dist.NegativeBinomial):
    r"""Negative binomial distribution, accurate for any total count :math:`r`.

    .. math::
        \log p(x) = \log \Gamma(x + r) - \log \Gamma(r) - \log x! + r \log \sigma(-l) + x \log \sigma(l)

    Args:
        total_count: :math:`r > 0`, real.
        logits: :math:`l`, the logarithm of the mean minus :math:`\log r`.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value = value.to(self.logits.dtype)
        total_count = unexpanded(self.total_count)
        log_choices = log_gamma_ratio(total_count, value) - torch.lgamma(value + 1.0)
        return log_choices - total_count * softplus(self.logits) - value * softplus(-self.logits)


class LogRatePoisson(TorchDistribution):
    r"""Poisson distribution parameterized by its log rate, so that the gradient never divides by a rate of zero.

    .. math:: \log p(x) = x \log \lambda - \lambda - \log x!

    Args:
        log_rate: :math:`\log \lambda`, ``[*batch]``.
    """

    arg_constraints = {"log_rate": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, log_rate: Tensor, *, validate_args: bool | None = None) -> None:
        self.log_rate = log_rate
        super().__init__(log_rate.shape, validate_args=validate_args)

    def expand(self, batch_shape: SizeLike, _instance: LogRatePoisson | None = None) -> LogRatePoisson:
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

    def sample(self, sample_shape: SizeLike = Size()) -> Tensor:
        with torch.no_grad():
            return torch.poisson(self.log_rate.exp().expand(self._extended_shape(sample_shape)))

    @property
    def mean(self) -> Tensor:
        return self.log_rate.exp()

    @property
    def variance(self) -> Tensor:
        return self.log_rate.exp()
