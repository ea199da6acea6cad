"""Guides of discrete codes that are trained through a relaxation: a draw is an indicator for each slot, and carries a gradient."""

from collections.abc import Sequence
import math

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Size, Tensor, nn

from pyro_lvm.code_distributions import CategoricalCodes

__all__ = ["GumbelEncoder", "IndicatorCodes", "RelaxedCodes", "StraightThroughEncoder"]


class IndicatorCodes(TorchDistribution):
    r"""A distribution of codes whose values are indicators y, one for each slot, instead of indices.

    .. math:: \log p(y) = \sum_m \sum_v y_{mv} \log p(z_m = v \mid z_{<m}), \quad z_m = \operatorname{argmax}_v y_{mv}

    At indicators this is the log mass of the codes; it has a gradient for y, and a value between them.

    Args:
        codes: The distribution of indices, with event shape ``[*S]``.

    Draws have event shape ``[*S, V]``.
    """

    arg_constraints = {}
    has_enumerate_support = True

    def __init__(self, codes: TorchDistribution, *, validate_args: bool | None = None) -> None:
        self.codes, self.num_codes = codes, codes.num_codes
        super().__init__(codes.batch_shape, codes.event_shape + (codes.num_codes,), validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.one_hot, len(self.event_shape) - 1)

    def expand(self, batch_shape: Size, _instance: TorchDistribution | None = None) -> "IndicatorCodes":
        new = self._get_checked_instance(IndicatorCodes, _instance)
        new.codes, new.num_codes = self.codes.expand(Size(batch_shape)), self.num_codes
        super(IndicatorCodes, new).__init__(Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        logits = self.codes.conditional_logits(value.argmax(-1))  # [*lead, *S, V]
        terms = torch.where((value == 0) & logits.isinf(), 0.0, value * logits)  # 0 log 0 = 0, with the gradient of every finite log
        return terms.flatten(-len(self.event_shape)).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Size = Size()) -> Tensor:
        return indicators(self.codes.sample(sample_shape), self.num_codes)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All joint values, ``[V**M, *batch, *S, V]``; see :meth:`~pyro_lvm.code_distributions.CodeDistribution.enumerate_support`."""
        return indicators(self.codes.enumerate_support(expand), self.num_codes)


class RelaxedCodes(IndicatorCodes):
    r"""Independent codes whose draws have a gradient.

    Straight through, a draw is an indicator with the gradient of the probabilities; with a temperature it lies between indicators,
    :math:`y_m = \operatorname{softmax}((l_m + g_m) / \tau)` with Gumbel noise g.

    Args:
        logits: Unnormalized log probabilities l, ``[*batch, *S, V]``.
        event_dims: Number of dimensions of S.
        temperature: :math:`\tau`, or None for straight-through indicators.
    """

    has_rsample = True

    def __init__(self, logits: Tensor, event_dims: int, temperature: float | None = None, *, validate_args: bool | None = None) -> None:
        self.temperature = temperature
        super().__init__(CategoricalCodes(logits, event_dims), validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: TorchDistribution | None = None) -> "RelaxedCodes":
        new = super().expand(batch_shape, self._get_checked_instance(RelaxedCodes, _instance))
        new.temperature = self.temperature
        return new

    def rsample(self, sample_shape: Size = Size()) -> Tensor:
        codes = self.codes.sample(sample_shape)
        logits = self.codes.conditional_logits(codes)  # [*lead, *S, V]
        if self.temperature is not None:
            gumbel = -torch.empty_like(logits).exponential_().log()
            return ((logits + gumbel) / self.temperature).softmax(-1)
        soft = logits.exp()
        return indicators(codes, self.num_codes).to(soft) + (soft - soft.detach())


def indicators(codes: Tensor, num_codes: int) -> Tensor:
    """Indicators ``[*lead, V]`` of codes ``[*lead]``, of the default dtype."""
    return (codes[..., None] == torch.arange(num_codes, device=codes.device)).to(torch.get_default_dtype())


class StraightThroughEncoder(nn.Module):
    r"""A guide of independent codes, trained as if draws were their probabilities.

    .. math:: q(z \mid x) = \prod_m \operatorname{softmax}(l_m(x))_{z_m}

    Args:
        network: Module that maps ``[*lead, *X]`` to logits l, ``[*lead, *S, V]``.
        vector_dim: Features of a code vector, d; the code vectors are parameters.
        out_shape: The shape ``[*S, V]``; by default the network's ``out_shape``.

    Returns:
        On call with data: a distribution of indicators with batch shape ``[*lead]`` and event shape ``[*S, V]``.

    Raises:
        ValueError: If there are fewer than two codes or no slots, or ``vector_dim`` is below 1.

    References:
        Bengio, Léonard, Courville (2013), Estimating or Propagating Gradients Through Stochastic Neurons. https://arxiv.org/abs/1308.3432
    """

    def __init__(self, network: nn.Module, vector_dim: int, *, out_shape: Sequence[int] | None = None) -> None:
        super().__init__()
        shape = getattr(network, "out_shape", None) if out_shape is None else out_shape
        if shape is None or len(shape) < 2 or shape[-1] < 2:
            got = None if shape is None else tuple(shape)
            raise ValueError(
                f"network must give logits [*S, V] of at least one slot and 2 codes; got out_shape {got}. Use MLP(784, (300,), (16, 32)), say."
            )
        if vector_dim < 1:
            raise ValueError(f"vector_dim must be at least 1; got {vector_dim}. Give the number of features of a code vector.")
        self.network = network
        *slots, self.num_codes = shape
        self.code_shape = Size(slots)
        self.codebook = nn.Parameter(torch.randn(self.num_codes, vector_dim))

    def forward(self, x: Tensor) -> TorchDistribution:
        return RelaxedCodes(self.network(x), len(self.code_shape))

    def vectors(self, codes: Tensor) -> Tensor:
        """The code vectors, ``[*lead, *S, d]``, of indicators ``[*lead, *S, V]``."""
        return codes.to(self.codebook.dtype) @ self.codebook

    def code_prior(self, prior: TorchDistribution) -> TorchDistribution:
        """A prior of indices as one of indicators."""
        return IndicatorCodes(prior)

    def steer(self, x: Tensor, codes: Tensor, vectors: Tensor) -> Tensor:
        """The code vectors as they are: indicators carry their gradient themselves."""
        return vectors


class GumbelEncoder(StraightThroughEncoder):
    r"""A guide of independent codes, trained with draws between the indicators and scored with indicators.

    .. math:: y_m = \operatorname{softmax}\big((l_m(x) + g_m) / \tau\big), \quad g_{mv} \sim \mathrm{Gumbel}(0, 1)

    While training, losses are those of the relaxed draws and no bounds; in evaluation mode draws are exact.

    Args:
        network, vector_dim, out_shape: As for :class:`StraightThroughEncoder`.
        temperature: :math:`\tau`; small values are nearer to indicators and have noisier gradients.

    Returns:
        On call with data: a distribution of indicators with batch shape ``[*lead]`` and event shape ``[*S, V]``.

    Raises:
        ValueError: As for :class:`StraightThroughEncoder`; also if the temperature is not positive.

    References:
        Jang, Gu, Poole (2017), Categorical Reparameterization with Gumbel-Softmax. https://arxiv.org/abs/1611.01144
    """

    def __init__(self, network: nn.Module, vector_dim: int, *, temperature: float = 0.67, out_shape: Sequence[int] | None = None) -> None:
        super().__init__(network, vector_dim, out_shape=out_shape)
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature must be positive and finite; got {temperature}. Use StraightThroughEncoder for indicators.")
        self.temperature = temperature

    def forward(self, x: Tensor) -> TorchDistribution:
        return RelaxedCodes(self.network(x), len(self.code_shape), self.temperature if self.training else None)
