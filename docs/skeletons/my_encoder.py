"""A guide of your own: a module that maps data [*lead, *X] to a distribution with batch shape [*lead]."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
import torch
from torch import Tensor, nn

from inference import evaluate, fit, load_data
import pyro_lvm as lvm


class LowRankNormalEncoder(nn.Module):
    r"""A normal guide whose covariance is diagonal plus one direction.

    .. math:: q(z \mid x) = \mathcal N(z \mid m(x), \operatorname{diag} s(x)^2 + u(x) u(x)^\top)

    Args:
        network: Maps ``[*lead, *X]`` to ``[*lead, 3 * D]``: mean, log scale, direction.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> TorchDistribution:
        loc, log_scale, direction = self.network(x).chunk(3, -1)  # [*lead, D]
        return dist.LowRankMultivariateNormal(loc, direction[..., None], (2 * log_scale).exp())


torch.manual_seed(0)
data = load_data("digits")
likelihood = lvm.BernoulliLikelihood(lvm.MLP(4, [32], 64))
pair = lvm.VAE(lvm.StandardNormal(4), likelihood, LowRankNormalEncoder(lvm.MLP(64, [32], 12)))
fit(pair, data.train, valid=data.valid, epochs=3, learning_rate=3e-3, progress=False)
print(evaluate(pair, data.test, num_particles=50, progress=False))
