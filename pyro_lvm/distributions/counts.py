"""Distributions of counts, accurate in float32 where torch's lose digits, and of vectors of counts whose totals differ."""

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


class ZeroInflated(TorchDistribution):
    r"""Counts of which some are 0 for another reason; unlike Pyro's, it can be expanded after its mean was asked for.

    .. math:: p(x) = \pi [x = 0] + (1 - \pi)\, p_0(x)

    Args:
        base_dist: :math:`p_0`, univariate, with batch shape ``[*batch]``.
        gate_logits: The logit of :math:`\pi`, of a shape that broadcasts to ``[*batch]``.
    """

    arg_constraints = {"gate_logits": constraints.real}

    def __init__(self, base_dist: TorchDistribution, gate_logits: Tensor, *, validate_args: bool | None = None) -> None:
        self.base_dist, self.gate_logits = base_dist, gate_logits.expand(base_dist.batch_shape)
        super().__init__(base_dist.batch_shape, validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint | None:
        return self.base_dist.support

    def expand(self, batch_shape: SizeLike, _instance: ZeroInflated | None = None) -> ZeroInflated:
        new = self._get_checked_instance(ZeroInflated, _instance)
        ZeroInflated.__init__(new, self.base_dist.expand(batch_shape), self.gate_logits.expand(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        gate_logits = unexpanded(self.gate_logits)
        counted = self.base_dist.log_prob(value) - softplus(gate_logits)  # of a count that is not set to 0
        return torch.where(value == 0, torch.logaddexp(-softplus(-gate_logits), counted), counted)

    def sample(self, sample_shape: SizeLike = Size()) -> Tensor:
        with torch.no_grad():
            counts = self.base_dist.sample(sample_shape)
            return counts * torch.bernoulli(torch.sigmoid(-self.gate_logits).expand(counts.shape))

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(-self.gate_logits) * self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        return torch.sigmoid(-self.gate_logits) * (self.base_dist.variance + self.base_dist.mean.square()) - self.mean.square()


class CountVector(TorchDistribution):
    """Base class of distributions of tensors ``[*X]`` of counts that depend on one another through their total."""

    def __init__(self, log_rate: Tensor, of_total: Tensor, *, event_dims: int = 1, validate_args: bool | None = None) -> None:
        num_batch = log_rate.dim() - event_dims
        self.log_rate, self.of_total = log_rate, of_total.expand(log_rate.shape[:num_batch])
        super().__init__(log_rate.shape[:num_batch], log_rate.shape[num_batch:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.nonnegative_integer, len(self.event_shape))

    def expand(self, batch_shape: SizeLike, _instance: CountVector | None = None) -> CountVector:
        new = self._get_checked_instance(type(self), _instance)
        new.log_rate, new.of_total = self.log_rate.expand(Size(batch_shape) + self.event_shape), self.of_total.expand(batch_shape)
        TorchDistribution.__init__(new, Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _wide(self, x: Tensor) -> Tensor:
        """Numbers ``[*lead]``, one for each row, as ``[*lead, 1, ...]``."""
        return x.reshape(*x.shape, *[1] * len(self.event_shape))

    def _flat(self, x: Tensor) -> Tensor:
        """Counts or rates as vectors, ``[*lead, D]``."""
        return x.reshape(*x.shape[: x.dim() - len(self.event_shape)], -1)

    def _summed(self, value: Tensor) -> tuple[Tensor, Tensor]:
        r"""The total n of counts, and :math:`\sum_i x_i \log \pi_i - \log x_i!`, each ``[*lead]``."""
        if self._validate_args:
            self._validate_sample(value)
        x = self._flat(value.to(self.log_rate.dtype))
        return x.sum(-1), (x * self._flat(self.log_rate).log_softmax(-1) - torch.lgamma(x + 1.0)).sum(-1)


class NegativeMultinomial(CountVector):
    r"""Negative multinomial distribution: Poisson counts whose rates have one random factor in common.

    The total has a negative binomial distribution of mean :math:`\Lambda = \sum_i \lambda_i` and variance :math:`\Lambda + \alpha
    \Lambda^2`, and the counts given their total a multinomial one. With :math:`r = 1 / \alpha`,

    .. math:: p(x) = \mathrm{NB}(n \mid \Lambda, \alpha)\, \mathrm{Multinomial}(x \mid n, \lambda / \Lambda)
        = \int \mathrm{Gamma}(g \mid r, r) \prod_i \mathrm{Poisson}(x_i \mid g \lambda_i)\, dg

    Args:
        log_rate: :math:`\log \lambda`, ``[*batch, *X]``.
        dispersion: :math:`\alpha > 0`, ``[]`` or ``[*batch]``.
        event_dims: Number of dimensions of X.
    """

    arg_constraints = {"log_rate": constraints.real, "dispersion": constraints.positive}

    def __init__(self, log_rate: Tensor, dispersion: Tensor, *, event_dims: int = 1, validate_args: bool | None = None) -> None:
        super().__init__(log_rate, dispersion, event_dims=event_dims, validate_args=validate_args)

    @property
    def dispersion(self) -> Tensor:
        return self.of_total

    def log_prob(self, value: Tensor) -> Tensor:
        n, shares = self._summed(value)
        r = 1.0 / self.dispersion
        logits = self._flat(self.log_rate).logsumexp(-1) - r.log()
        return log_gamma_ratio(r, n) - r * softplus(logits) - n * softplus(-logits) + shares

    def sample(self, sample_shape: SizeLike = Size()) -> Tensor:
        with torch.no_grad():
            r = (1.0 / self.dispersion).expand(Size(sample_shape) + self.batch_shape)
            factor = dist.Gamma(r, r, validate_args=False).sample()
            return torch.poisson(self.log_rate.exp() * self._wide(factor))

    @property
    def mean(self) -> Tensor:
        return self.log_rate.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean + self._wide(self.dispersion) * self.mean.square()


class Multinomial(CountVector):
    r"""Multinomial distribution whose total differs from row to row, as torch's cannot; counts of another total have mass 0.

    .. math:: p(x \mid n) = n! \prod_i \pi_i^{x_i} / x_i!

    Args:
        logits: :math:`\log \pi` up to a constant, ``[*batch, *X]``.
        total: n, whole numbers, ``[]`` or ``[*batch]``.
        event_dims: Number of dimensions of X.
    """

    arg_constraints = {"log_rate": constraints.real, "total": constraints.nonnegative_integer}

    def __init__(self, logits: Tensor, total: Tensor, *, event_dims: int = 1, validate_args: bool | None = None) -> None:
        super().__init__(logits, total, event_dims=event_dims, validate_args=validate_args)

    @property
    def total(self) -> Tensor:
        return self.of_total

    def log_prob(self, value: Tensor) -> Tensor:
        n, shares = self._summed(value)
        return torch.where(n == self.total, torch.lgamma(n + 1.0) + shares, -torch.inf)

    def sample(self, sample_shape: SizeLike = Size()) -> Tensor:
        """Draw the counts one after the other, each binomial given those before it."""
        lead = Size(sample_shape) + self.batch_shape
        with torch.no_grad():
            probs = self._flat(self.log_rate).softmax(-1).expand(*lead, -1)
            left, rest, counts = self.total.to(probs.dtype).expand(lead).clone(), probs.flip(-1).cumsum(-1).flip(-1), []
            for share in (probs / rest).clamp(max=1.0).unbind(-1)[:-1]:
                counts.append(torch.binomial(left, share))
                left = left - counts[-1]
            return torch.stack([*counts, left], -1).reshape(lead + self.event_shape)

    @property
    def mean(self) -> Tensor:
        shares = self._flat(self.log_rate).softmax(-1).reshape(self.log_rate.shape)
        return shares * self._wide(self.total)
