"""Likelihood of binary data."""

from __future__ import annotations

from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_lvm.distributions.bernoulli import IndependentBernoulli
from pyro_lvm.likelihoods.likelihood import Likelihood


class BernoulliLikelihood(Likelihood):
    r"""Bernoulli likelihood of binary data.

    .. math:: p(x_i \mid z) = \sigma(l_i)^{x_i} \, \sigma(-l_i)^{1 - x_i}

    Args:
        network: Maps latents ``[*lead, D]`` to logits :math:`l`, ``[*lead, *X]``.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.
    """

    def elements(self, params: Tensor) -> TorchDistribution:
        return dist.Bernoulli(logits=params)

    def joined(self, elements: TorchDistribution, num_dims: int) -> TorchDistribution:
        return IndependentBernoulli(elements, num_dims) if num_dims else elements
