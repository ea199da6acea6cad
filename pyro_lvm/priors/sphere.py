"""Uniform prior of unit vectors."""

import torch
from torch import Tensor, nn

from pyro_lvm.checks import check_counts
from pyro_lvm.distributions.sphere import PowerSpherical


class UniformSpherePrior(nn.Module):
    r"""Uniform prior of unit vectors.

    .. math:: p(z) = \frac{\Gamma(D / 2)}{2 \pi^{D / 2}}, \quad |z| = 1

    Args:
        latent_dim: Number of entries of a vector, :math:`D`.

    Raises:
        ValueError: If ``latent_dim`` is below 2.
    """

    axis: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        check_counts(2, latent_dim=latent_dim)
        self.register_buffer("axis", torch.eye(latent_dim)[0], persistent=False)

    def forward(self) -> PowerSpherical:
        return PowerSpherical(self.axis, self.axis.new_zeros(()))
