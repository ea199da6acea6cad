"""A prior of your own: a module whose call returns a Pyro distribution with batch shape [] and event shape [D]."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
import torch
from torch import Tensor, nn

from inference import compare, evaluate, fit, load_data
import pyro_lvm as lvm
from pyro_lvm.checks import check_counts


class LearnedScaleNormalPrior(nn.Module):
    r"""A normal prior with learned scales.

    .. math:: p(z) = \prod_d \mathcal N(z_d \mid 0, s_d^2)

    Args:
        latent_dim: Number of latent features, :math:`D`.

    Raises:
        ValueError: If ``latent_dim`` is below 1.
    """

    loc: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        check_counts(latent_dim=latent_dim)
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)  # a constant that follows the module to a device
        self.log_scale = nn.Parameter(torch.zeros(latent_dim))  # learned

    def forward(self) -> TorchDistribution:
        return dist.Normal(self.loc, self.log_scale.exp()).to_event(1)  # batch shape [], event shape [D]


def vae(prior: nn.Module) -> lvm.VAE:
    torch.manual_seed(0)
    encoder = lvm.NormalEncoder(lvm.MLP(64, [32], 8))
    return lvm.VAE(prior, lvm.BernoulliLikelihood(lvm.MLP(4, [32], 64)), encoder)


data = load_data("digits")
scores = {}
for name, prior in {"standard": lvm.StandardNormal(4), "learned": LearnedScaleNormalPrior(4)}.items():
    pair = fit(vae(prior), data.train, valid=data.valid, epochs=3, learning_rate=3e-3, progress=False).pair
    scores[name] = evaluate(pair, data.test, num_particles=50, progress=False)
print(compare(scores))
