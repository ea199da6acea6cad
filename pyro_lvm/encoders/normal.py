"""Normal guides."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_lvm.checks import check_counts, check_types
from pyro_lvm.distributions.normal_mixture import lower_triangular


class NormalEncoder(nn.Module):
    r"""Normal guide with diagonal covariance.

    .. math:: q(z \mid x) = \mathcal N(z \mid m(x), \operatorname{diag} s(x)^2)

    Args:
        network: Module that maps ``[*lead, *X]`` to ``[*lead, 2 * D]``: the mean, then the log scale.
        event_dims: Number of dimensions of a latent: 1, or 3 for images ``[C, H, W]``, for which the network returns
            ``[*lead, 2 * C, H, W]``.

    Raises:
        ValueError: If (on call) the network returns an odd number of features.
    """

    def __init__(self, network: nn.Module, *, event_dims: int = 1) -> None:
        super().__init__()
        self.network = network
        self.event_dims = event_dims

    def forward(self, *inputs: Tensor) -> TorchDistribution:
        loc, log_scale = halves(self.network(*inputs), self.event_dims)  # [*lead, D]
        return dist.Normal(loc, log_scale.exp()).to_event(self.event_dims)


class ResidualNormalEncoder(nn.Module):
    r"""Normal guide parameterized relative to the prior of its level, so that it moves along with the prior.

    .. math:: p(z \mid h) = \mathcal N(z \mid m, \operatorname{diag} s^2), \quad
        q(z \mid x, h) = \mathcal N\big(z \mid m + s\, a(x, h), \operatorname{diag} (s\, e^{b(x, h)})^2\big)

    so that the KL, :math:`\tfrac12 \sum (a^2 + e^{2b} - 2b - 1)`, depends on the offsets alone.

    Args:
        conditional: Module whose call ``conditional(h)`` returns p(z|h), a :class:`NormalEncoder`; shared with the model.
        network: Module that maps features of x and h to ``[*lead, 2 * D]``: the offsets a, then b.

    Raises:
        TypeError: If ``conditional`` is not a :class:`NormalEncoder`.
        ValueError: If (on call) the network does not return two numbers for each latent of the conditional.

    References:
        Vahdat, Kautz (2020), NVAE. https://arxiv.org/abs/2007.03898 (there a is not in units of s)
    """

    def __init__(self, conditional: NormalEncoder, network: nn.Module) -> None:
        super().__init__()
        check_types(NormalEncoder, "Use a NormalEncoder as guide, too.", conditional=conditional)
        self.conditional = conditional
        self.network = network

    def forward(self, x: Tensor, h: Tensor) -> TorchDistribution:
        prior, event_dims = self.conditional(h).base_dist, self.conditional.event_dims
        shift, log_ratio = halves(self.network(x, h), event_dims)  # [*lead, D]
        if shift.shape[-event_dims:] != prior.loc.shape[-event_dims:]:
            raise ValueError(
                "network must return two offsets for each of the conditional's latents, "
                f"{tuple(prior.loc.shape[-event_dims:])}; got offsets of shape {tuple(shift.shape[-event_dims:])}. "
                "Change the width of its last layer."
            )
        return dist.Normal(prior.loc + prior.scale * shift, prior.scale * log_ratio.exp()).to_event(event_dims)


class FullRankNormalEncoder(nn.Module):
    r"""Normal guide with full covariance, parameterized by its Cholesky factor.

    .. math:: q(z \mid x) = \mathcal N(z \mid m(x), L(x) L(x)^\top), \quad L_{dd} = e^{l_d(x)}

    Args:
        network: Module that maps ``[*lead, *X]`` to ``[*lead, D + D (D + 1) / 2]``: the mean, the logs of the
            diagonal of :math:`L`, then its rows below the diagonal.
        latent_dim: Number of latent features, :math:`D`.

    Raises:
        ValueError: If ``latent_dim`` is below 1, or (on call) the network returns another number of features.
    """

    def __init__(self, network: nn.Module, latent_dim: int) -> None:
        super().__init__()
        check_counts(latent_dim=latent_dim)
        self.network = network
        self.latent_dim = latent_dim

    def forward(self, *inputs: Tensor) -> TorchDistribution:
        D = self.latent_dim
        features = self.network(*inputs)  # [*lead, P]
        check_features(features, D + D * (D + 1) // 2, "mean and Cholesky factor: D + D * (D + 1) / 2")
        loc, log_diagonal, below = features.split([D, D, D * (D - 1) // 2], -1)
        return dist.MultivariateNormal(loc, scale_tril=lower_triangular(log_diagonal.exp(), below))


def halves(features: Tensor, event_dims: int) -> tuple[Tensor, ...]:
    if features.shape[-event_dims] % 2:
        raise ValueError(
            f"network must return 2 * D features, mean and log scale; got {features.shape[-event_dims]}. Give its last layer an even width."
        )
    return features.chunk(2, -event_dims)


def check_features(features: Tensor, expected: int, meaning: str) -> None:
    if features.shape[-1] != expected:
        raise ValueError(
            f"network must return {expected} features ({meaning}); got {features.shape[-1]}. Change the width of its last layer."
        )
