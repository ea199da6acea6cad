"""Distributions of discrete codes whose values are indicators instead of indices."""

from pyro.distributions import TorchDistribution, constraints
import torch
from torch import Size, Tensor

from pyro_lvm.distributions import SizeLike
from pyro_lvm.distributions.codes import CategoricalCodes


class IndicatorCodes(TorchDistribution):
    r"""Distribution of codes whose values are indicators y, one for each slot, instead of indices.

    .. math:: \log p(y) = \sum_m \sum_v y_{mv} \log p(z_m = v \mid z_{<m}), \quad z_m = \operatorname{argmax}_v y_{mv}

    At indicators this is the log mass of the codes. It has a gradient with respect to y, and is also defined between indicators.
    Draws have event shape ``[*S, V]``.

    Args:
        codes: Distribution of indices, with event shape ``[*S]``.
    """

    arg_constraints = {}
    has_enumerate_support = True

    def __init__(self, codes: TorchDistribution, *, validate_args: bool | None = None) -> None:
        self.codes, self.num_codes = codes, codes.num_codes
        super().__init__(codes.batch_shape, codes.event_shape + (codes.num_codes,), validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.one_hot, len(self.event_shape) - 1)

    def expand(self, batch_shape: SizeLike, _instance: TorchDistribution | None = None) -> "IndicatorCodes":
        new = self._get_checked_instance(IndicatorCodes, _instance)
        new.codes, new.num_codes = self.codes.expand(Size(batch_shape)), self.num_codes
        super(IndicatorCodes, new).__init__(Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        logits = self.codes.conditional_logits(value.argmax(-1))  # [*lead, *S, V]
        # 0 log 0 is 0, with the gradient of every finite logarithm.
        terms = torch.where((value == 0) & logits.isinf(), 0.0, value * logits)
        return terms.flatten(-len(self.event_shape)).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: SizeLike = Size()) -> Tensor:
        return indicators(self.codes.sample(sample_shape), self.num_codes)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return all joint values, ``[V**M, *batch, *S, V]``.

        See :meth:`~pyro_lvm.distributions.codes.CodeDistribution.enumerate_support`.
        """
        return indicators(self.codes.enumerate_support(expand), self.num_codes)


class RelaxedCodes(IndicatorCodes):
    r"""Independent codes whose draws have a gradient.

    A straight-through draw is an indicator with the gradient of the probabilities. With a temperature, a draw lies between indicators,
    :math:`y_m = \operatorname{softmax}((l_m + g_m) / \tau)`, with Gumbel noise g.

    Args:
        logits: Unnormalized log probabilities l, ``[*batch, *S, V]``.
        event_dims: Number of dimensions of S.
        temperature: :math:`\tau`, or None for straight-through indicators.
    """

    has_rsample = True

    def __init__(self, logits: Tensor, event_dims: int, temperature: float | None = None, *, validate_args: bool | None = None) -> None:
        self.temperature = temperature
        super().__init__(CategoricalCodes(logits, event_dims), validate_args=validate_args)

    def expand(self, batch_shape: SizeLike, _instance: TorchDistribution | None = None) -> "RelaxedCodes":
        new = super().expand(batch_shape, self._get_checked_instance(RelaxedCodes, _instance))
        new.temperature = self.temperature
        return new

    def rsample(self, sample_shape: SizeLike = Size()) -> Tensor:
        codes = self.codes.sample(sample_shape)
        logits = self.codes.conditional_logits(codes)  # [*lead, *S, V]
        if self.temperature is not None:
            gumbel = -torch.empty_like(logits).exponential_().log()
            return ((logits + gumbel) / self.temperature).softmax(-1)
        soft = logits.exp()
        return indicators(codes, self.num_codes).to(soft) + (soft - soft.detach())


def indicators(codes: Tensor, num_codes: int) -> Tensor:
    """Return the indicators ``[*lead, V]`` of codes ``[*lead]``, in the default dtype."""
    return (codes[..., None] == torch.arange(num_codes, device=codes.device)).to(torch.get_default_dtype())
