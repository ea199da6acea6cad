"""Discretized logistic mixture: a distribution over the levels of a pixel."""

from __future__ import annotations

from pyro.distributions import TorchDistribution, constraints
import torch
from torch import Size, Tensor

from pyro_lvm.checks import check_counts
from pyro_lvm.distributions import SizeLike
from pyro_lvm.distributions.special import softplus


class DiscretizedLogisticMixture(TorchDistribution):
    r"""Mixture of logistic distributions, discretized to the integers ``0..num_levels - 1``.

    With :math:`V` levels, :math:`y = 2x / (V - 1) - 1` and :math:`h = 1 / (V - 1)`, half a bin,

    .. math::
        p(x) = \sum_c \pi_c \left[ \sigma\left(\frac{y + h - \mu_c}{s_c}\right)
            - \sigma\left(\frac{y - h - \mu_c}{s_c}\right) \right],

    where the lowest bin extends to :math:`-\infty` and the highest to :math:`\infty`.

    Args:
        logits: :math:`\log \pi` up to a constant, ``[*batch, C]``.
        loc: :math:`\mu`, ``[*batch, C]``, on the scale of :math:`y`.
        log_scale: :math:`\log s`, ``[*batch, C]``, on the scale of :math:`y`.
        num_levels: Number of levels, :math:`V`; 256 for bytes.

    Raises:
        ValueError: If the shapes differ, or there are fewer than two levels.

    References:
        Salimans, Karpathy, Chen, Kingma (2017), PixelCNN++. https://arxiv.org/abs/1701.05517
    """

    arg_constraints = {
        "logits": constraints.real_vector,
        "loc": constraints.real_vector,
        "log_scale": constraints.real_vector,
    }

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        *,
        num_levels: int = 256,
        validate_args: bool | None = None,
    ) -> None:
        if not logits.shape == loc.shape == log_scale.shape:
            raise ValueError(
                "logits, loc and log_scale must have the same shape [*batch, C]; got "
                f"{tuple(logits.shape)}, {tuple(loc.shape)} and {tuple(log_scale.shape)}. Expand them first."
            )
        check_counts(2, num_levels=num_levels)
        self.logits, self.loc, self.log_scale, self.num_levels = logits, loc, log_scale, num_levels
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self.num_levels - 1)

    @property
    def half_bin(self) -> float:
        return 1.0 / (self.num_levels - 1)

    def expand(self, batch_shape: SizeLike, _instance: DiscretizedLogisticMixture | None = None) -> DiscretizedLogisticMixture:
        new = self._get_checked_instance(DiscretizedLogisticMixture, _instance)
        batch_shape, new.num_levels = Size(batch_shape), self.num_levels
        shape = batch_shape + self.logits.shape[-1:]
        new.logits, new.loc = self.logits.expand(shape), self.loc.expand(shape)
        new.log_scale = self.log_scale.expand(shape)
        super(DiscretizedLogisticMixture, new).__init__(batch_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_mass = self._log_mass(value.to(self.loc.dtype).unsqueeze(-1))  # [*batch, C]
        return torch.logsumexp(self.logits.log_softmax(-1) + log_mass, -1)  # [*batch]

    def _log_mass(self, x: Tensor) -> Tensor:
        r"""Return the log mass of a bin between edges :math:`a > b`.

        .. math:: \log \sigma(a) + \log \sigma(-b) + \log(1 - e^{b - a})

        No term is a difference of nearly equal numbers, however far in the tail or narrow the bin is.
        """
        inverse_scale = torch.exp(-self.log_scale)
        centered = 2.0 * self.half_bin * x - 1.0 - self.loc
        log_below_top = -softplus(-inverse_scale * (centered + self.half_bin))
        log_above_bottom = -softplus(inverse_scale * (centered - self.half_bin))
        log_width = torch.log(-torch.expm1(-2.0 * self.half_bin * inverse_scale))
        lowest, highest = x == 0, x == self.num_levels - 1
        inner = log_below_top + log_above_bottom + log_width
        return torch.where(lowest, log_below_top, torch.where(highest, log_above_bottom, inner))

    def sample(self, sample_shape: SizeLike = Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            categorical = torch.distributions.Categorical(logits=self.logits, validate_args=False)
            component = categorical.sample(sample_shape).unsqueeze(-1)  # [*shape, 1]
            loc = self.loc.expand(*shape, -1).gather(-1, component).squeeze(-1)  # [*shape]
            log_scale = self.log_scale.expand(*shape, -1).gather(-1, component).squeeze(-1)
            y = loc + log_scale.exp() * torch.rand_like(loc).logit()
            return ((y + 1.0) / (2.0 * self.half_bin)).round().clamp(0, self.num_levels - 1)

    @property
    def mean(self) -> Tensor:
        r"""Exact mean, :math:`\sum_{x \ge 1} P(X \ge x)`, summed one level at a time to save memory."""
        weights, inverse_scale = self.logits.softmax(-1), torch.exp(-self.log_scale)
        total = torch.zeros_like(weights[..., 0])
        for x in range(1, self.num_levels):
            bottom = (2 * x - 1) * self.half_bin - 1.0
            total = total + torch.linalg.vecdot(weights, torch.sigmoid(inverse_scale * (self.loc - bottom)))
        return total
