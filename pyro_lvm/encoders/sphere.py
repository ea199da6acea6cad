"""Guide of unit vectors."""

from torch import Tensor, nn

from pyro_lvm.distributions.sphere import PowerSpherical


class PowerSphericalEncoder(nn.Module):
    r"""Power spherical guide of unit vectors; see :class:`~pyro_lvm.distributions.sphere.PowerSpherical`.

    Args:
        network: Module that maps ``[*lead, *X]`` to ``[*lead, D + 1]``: a vector in the mean direction, then the log
            concentration.

    References:
        De Cao, Aziz (2020), The Power Spherical distribution. https://arxiv.org/abs/2006.04437
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> PowerSpherical:
        features = self.network(*inputs)  # [*lead, D + 1]
        direction, concentration = features[..., :-1], features[..., -1].exp()
        return PowerSpherical(direction / direction.norm(dim=-1, keepdim=True), concentration)
