"""Likelihood of unordered codes."""

from __future__ import annotations

from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_lvm.likelihoods.likelihood import Likelihood


class CategoricalLikelihood(Likelihood):
    r"""Categorical likelihood of unordered codes, integers 0 to V - 1 (as integers or floats).

    .. math:: p(x_i = v \mid z) = \mathrm{softmax}(l_i)_v

    Args:
        network: Maps latents ``[*lead, D]`` to logits :math:`l`, ``[*lead, *X, V]``.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.
    """

    def elements(self, params: Tensor) -> TorchDistribution:
        return dist.Categorical(logits=params)
