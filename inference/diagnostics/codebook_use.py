"""How much of a codebook is in use."""

from typing import NamedTuple

from pyro.distributions import Distribution
from torch import Tensor
from torch.distributions import constraints

from pyro_lvm.sites import innermost, innermost_support


class Codebook(NamedTuple):
    """Use of a discrete latent's V values, each with its standard error.

    Attributes:
        share: Distinct values among the codes, divided by V; NaN if there is no end of values.
        share_error: By the jackknife over codes.
        perplexity: exp of the entropy of the codes' relative frequencies: so many equally frequent values would be as varied.
        perplexity_error: Over the data, by the delta method.
    """

    share: float
    share_error: float
    perplexity: float
    perplexity_error: float


def codebook_use(fn: Distribution, codes: Tensor) -> Codebook:
    """How much of a discrete latent's values codes use.

    Args:
        fn: Distribution of the latent.
        codes: One code for each datum, ``[S, *Z]``; the slots of a code are pooled.

    Returns:
        Share and perplexity.
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


def _num_values(base: Distribution) -> float:
    """Values of one slot."""
    if hasattr(base, "num_codes"):
        return base.num_codes
    try:
        return len(base.enumerate_support(expand=False))
    except NotImplementedError:
        return float("nan")
