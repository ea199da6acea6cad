"""Interface of guides of discrete codes, and measures of how well codes are used."""

from typing import Protocol, runtime_checkable

from pyro.distributions import TorchDistribution
import torch
from torch import Tensor


@runtime_checkable
class CodeEncoder(Protocol):
    """Methods that a :class:`~pyro_lvm.models.vqvae.VQVAE` needs of a guide of discrete codes, besides the call, which returns q(z|x).

    Codes have the form in which the guide draws them: indices ``[*lead, *S]``, or indicators ``[*lead, *S, V]``.
    """

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the code vectors, ``[*lead, *S, d]``, of codes."""

    def code_prior(self, prior: TorchDistribution) -> TorchDistribution:
        """Return a prior of indices as a prior of codes in the form in which this guide draws them."""

    def steer(self, x: Tensor, codes: Tensor, vectors: Tensor) -> Tensor:
        """Return the code vectors with a gradient for the features of x, for training; may declare penalties."""


def code_use(counts: Tensor) -> tuple[float, float]:
    r"""Return how well codes are used: the share of codes that occur at all, and the perplexity of their frequencies f.

    .. math:: \exp\Big(-\sum_v f_v \log f_v\Big)

    The perplexity is V if all codes are equally frequent, and 1 if only one occurs. Both figures are means over the codebooks if there
    are several.

    Args:
        counts: Number of times that each code occurs, ``[V]``, or ``[G, V]`` for G codebooks.

    Returns:
        Usage, between 0 and 1, and perplexity, between 1 and V; NaN if nothing was counted.
    """
    frequencies = counts.double() / counts.sum(-1, keepdim=True)
    perplexity = torch.special.entr(frequencies).sum(-1).exp()
    usage = torch.where(frequencies.isnan(), frequencies, (counts > 0).double()).mean()
    return float(usage), float(perplexity.mean())
