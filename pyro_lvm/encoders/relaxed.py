"""Guides of discrete codes that are trained through a relaxation: a draw has one indicator for each slot and carries a gradient."""

from collections.abc import Sequence

from pyro.distributions import TorchDistribution
import torch
from torch import Size, Tensor, nn

from pyro_lvm.checks import check_counts, check_positive
from pyro_lvm.distributions.indicators import IndicatorCodes, RelaxedCodes


class StraightThroughEncoder(nn.Module):
    r"""Guide of independent codes, trained as if draws were their probabilities.

    .. math:: q(z \mid x) = \prod_m \operatorname{softmax}(l_m(x))_{z_m}

    Args:
        network: Module that maps ``[*lead, *X]`` to logits l, ``[*lead, *S, V]``.
        vector_dim: Number of features of a code vector, d; the code vectors are parameters.
        out_shape: Shape ``[*S, V]``; by default the network's ``out_shape``.

    Returns:
        On call with data: a distribution of indicators with batch shape ``[*lead]`` and event shape ``[*S, V]``.

    Raises:
        ValueError: If there are fewer than two codes or no slots, or ``vector_dim`` is below 1.

    References:
        Bengio, Léonard, Courville (2013), Estimating or Propagating Gradients Through Stochastic Neurons. https://arxiv.org/abs/1308.3432
    """

    def __init__(self, network: nn.Module, vector_dim: int, *, out_shape: Sequence[int] | None = None) -> None:
        super().__init__()
        shape: Sequence[int] | None = getattr(network, "out_shape", None) if out_shape is None else out_shape
        if shape is None or len(shape) < 2 or shape[-1] < 2:
            got = None if shape is None else tuple(shape)
            raise ValueError(
                f"network must return logits [*S, V] with at least one slot and 2 codes; got out_shape {got}. "
                "Use, for instance, MLP(784, (300,), (16, 32))."
            )
        check_counts(vector_dim=vector_dim)
        self.network = network
        *slots, self.num_codes = shape
        self.code_shape = Size(slots)
        self.codebook = nn.Parameter(torch.randn(self.num_codes, vector_dim))

    def forward(self, x: Tensor) -> TorchDistribution:
        return RelaxedCodes(self.network(x), len(self.code_shape))

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the code vectors, ``[*lead, *S, d]``, of indicators ``[*lead, *S, V]``."""
        return codes.to(self.codebook.dtype) @ self.codebook

    def code_prior(self, prior: TorchDistribution) -> TorchDistribution:
        """Return a prior of indices as a prior of indicators."""
        return IndicatorCodes(prior)

    def steer(self, x: Tensor, codes: Tensor, vectors: Tensor) -> Tensor:
        """Return the code vectors unchanged, because the indicators carry the gradient themselves."""
        return vectors


class GumbelEncoder(StraightThroughEncoder):
    r"""Guide of independent codes, trained with draws between the indicators and scored with indicators.

    .. math:: y_m = \operatorname{softmax}\big((l_m(x) + g_m) / \tau\big), \quad g_{mv} \sim \mathrm{Gumbel}(0, 1)

    In training mode, losses are those of the relaxed draws and are not bounds; in evaluation mode, draws are exact.

    Args:
        network, vector_dim, out_shape: As for :class:`StraightThroughEncoder`.
        temperature: :math:`\tau`; small values give draws nearer to indicators and noisier gradients.

    Returns:
        On call with data: a distribution of indicators with batch shape ``[*lead]`` and event shape ``[*S, V]``.

    Raises:
        ValueError: As for :class:`StraightThroughEncoder`; also if the temperature is not positive.

    References:
        Jang, Gu, Poole (2017), Categorical Reparameterization with Gumbel-Softmax. https://arxiv.org/abs/1611.01144
    """

    def __init__(self, network: nn.Module, vector_dim: int, *, temperature: float = 0.67, out_shape: Sequence[int] | None = None) -> None:
        super().__init__(network, vector_dim, out_shape=out_shape)
        check_positive(temperature=temperature)
        self.temperature = temperature

    def forward(self, x: Tensor) -> TorchDistribution:
        return RelaxedCodes(self.network(x), len(self.code_shape), self.temperature if self.training else None)
