"""A likelihood of your own: say what one element of the data is, given the network's output for it."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
import torch
from torch import Tensor

from inference import evaluate, fit
import pyro_lvm as lvm
from pyro_lvm.likelihoods.likelihood import Likelihood


class ExponentialLikelihood(Likelihood):
    r"""Waiting times.

    .. math:: p(x_i \mid z) = \lambda_i e^{-\lambda_i x_i}

    Args:
        network: Maps latents ``[*lead, D]`` to log rates :math:`\log \lambda`, ``[*lead, *X]``.
    """

    def elements(self, params: Tensor) -> TorchDistribution:
        return dist.Exponential(params.exp())  # batch shape [*lead, *X]; Likelihood makes X the event


torch.manual_seed(0)
x = torch.empty(300, 6).exponential_(2.0)
pair = lvm.VAE(lvm.StandardNormal(2), ExponentialLikelihood(lvm.MLP(2, [16], 6)), lvm.NormalEncoder(lvm.MLP(6, [16], 4)))
fit(pair, x[:200], valid=x[200:250], epochs=3, progress=False)
print(evaluate(pair, x[250:], num_particles=50, progress=False))
