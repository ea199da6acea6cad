"""What guides of discrete codes have in common, and how well codes are used."""

from typing import Protocol, runtime_checkable

from pyro.distributions import TorchDistribution
import torch
from torch import Tensor


@runtime_checkable
class CodeEncoder(Protocol):
    """What a :class:`~pyro_lvm.models.vqvae.VQVAE` asks of a guide of discrete codes, besides its call, which gives q(z|x).

    Codes come in the form in which the guide draws them: indices ``[*lead, *S]``, or indicators ``[*lead, *S, V]``.
    """

    def vectors(self, codes: Tensor) -> Tensor:
        """The code vectors, ``[*lead, *S, d]``, of codes."""

    def code_prior(self, prior: TorchDistribution) -> TorchDistribution:
        """A prior of indices as one of codes in the form in which this guide draws them."""

    def steer(self, x: Tensor, codes: Tensor, vectors: Tensor) -> Tensor:
        """The code vectors with a gradient for the features of x, for training; may declare penalties."""


def code_use(counts: Tensor) -> tuple[float, float]:
    r"""How well codes are used: the share of codes that occur at all, and the perplexity of their frequencies f.

    .. math:: \exp\Big(-\sum_v f_v \log f_v\Big)

    It is V if all codes are equally frequent, and 1 if there is only one. Of several codebooks, both are means over the codebooks.

    Args:
        counts: How often each code occurs, ``[V]``, or ``[G, V]`` for G codebooks.

    Returns:
        Usage, between 0 and 1, and perplexity, between 1 and V; NaN if nothing was counted.
    """
    frequencies = counts.double() / counts.sum(-1, keepdim=True)
    perplexity = torch.special.entr(frequencies).sum(-1).exp()
    usage = torch.where(frequencies.isnan(), frequencies, (counts > 0).double()).mean()
    return float(usage), float(perplexity.mean())
