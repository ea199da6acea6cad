"""How much of a codebook is in use."""

from typing import NamedTuple

from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_lvm.sites import innermost, innermost_support


class Codebook(NamedTuple):
    """Use of the V values of a discrete latent, with standard errors.

    Attributes:
        share: Number of distinct values among the codes, divided by V; NaN if the values cannot be enumerated.
        share_error: Standard error of ``share``, by the jackknife over codes.
        perplexity: exp of the entropy of the values' relative frequencies: the number of equally frequent values with that entropy.
        perplexity_error: Standard error of ``perplexity`` over the data, by the delta method.
    """

    share: float
    share_error: float
    perplexity: float
    perplexity_error: float


def codebook_use(fn: TorchDistribution, codes: Tensor) -> Codebook:
    """Measure how many of a discrete latent's values the codes use, and how evenly.

    Args:
        fn: Distribution of the latent.
        codes: One code for each datum, ``[S, *Z]``; the slots of a code are pooled.

    Returns:
        Share and perplexity, with standard errors.
    """
    base = innermost(fn)
    index = codes.argmax(-1) if innermost_support(base) is constraints.one_hot else codes
    index = index.reshape(len(codes), -1)  # [S, M]
    _, place, counts = index.unique(return_inverse=True, return_counts=True)
    surprise = -(counts / index.numel()).double().log()[place].mean(1)  # [S]
    singles, size = int((counts == 1).sum()), _num_values(base)
    perplexity = float(surprise.mean().exp())
    return Codebook(
        share=len(counts) / size,
        share_error=(singles * (1 - singles / index.numel())) ** 0.5 / size,
        perplexity=perplexity,
        perplexity_error=perplexity * float(surprise.std()) / len(codes) ** 0.5,
    )


def _num_values(base: TorchDistribution) -> float:
    """Number of values of one slot, NaN if they cannot be enumerated."""
    if hasattr(base, "num_codes"):
        return base.num_codes
    try:
        return len(base.enumerate_support(expand=False))
    except NotImplementedError:
        return float("nan")
