"""Learned mixtures of normal distributions as priors."""

import torch
from torch import nn

from pyro_lvm.checks import check_counts
from pyro_lvm.distributions.normal_mixture import DiagNormalMixture, FullNormalMixture, lower_triangular


class GaussianMixturePrior(nn.Module):
    r"""Learned mixture of diagonal normal distributions.

    .. math:: p(z) = \sum_{c=1}^C w_c \, \mathcal N(z \mid m_c, \operatorname{diag} s_c^2)

    Means are initialized as draws from :math:`\mathcal N(0, I/2)` and variances at 1/2: on average over the draws,
    the initial mixture is the standard normal.

    Args:
        latent_dim: Number of latent features, :math:`D`.
        num_components: Number of components, :math:`C`.

    Raises:
        ValueError: If a count is below 1.
    """

    def __init__(self, latent_dim: int, num_components: int) -> None:
        super().__init__()
        check_counts(latent_dim=latent_dim, num_components=num_components)
        shape = (num_components, latent_dim)
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.loc = nn.Parameter(torch.randn(shape) * 0.5**0.5)
        self.log_scale = nn.Parameter(torch.full(shape, 0.5).log() / 2)

    def forward(self) -> DiagNormalMixture:
        return DiagNormalMixture(self.logits, self.loc, self.log_scale.exp())


class FullGaussianMixturePrior(nn.Module):
    r"""Learned mixture of normal distributions with full covariances.

    .. math:: p(z) = \sum_{c=1}^C w_c \, \mathcal N(z \mid m_c, L_c L_c^\top), \quad L_{cdd} = e^{l_{cd}}

    Means are initialized as draws from :math:`\mathcal N(0, I/2)` and covariances at :math:`I/2`, as in :class:`GaussianMixturePrior`.

    Args:
        latent_dim: Number of latent features, :math:`D`.
        num_components: Number of components, :math:`C`.

    Raises:
        ValueError: If a count is below 1.
    """

    def __init__(self, latent_dim: int, num_components: int) -> None:
        super().__init__()
        check_counts(latent_dim=latent_dim, num_components=num_components)
        shape = (num_components, latent_dim)
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.loc = nn.Parameter(torch.randn(shape) * 0.5**0.5)
        self.log_diagonal = nn.Parameter(torch.full(shape, 0.5).log() / 2)
        self.below = nn.Parameter(torch.zeros(num_components, latent_dim * (latent_dim - 1) // 2))

    def forward(self) -> FullNormalMixture:
        return FullNormalMixture(self.logits, self.loc, lower_triangular(self.log_diagonal.exp(), self.below))
