"""How many chains start at the safe components of a proposal: as many as are of use, according to a pilot."""

import torch
from torch import Tensor

from inference.scoring.proposals.student import Mixture

_TRIED = 0.25  # share of each safe component in a pilot
_MOST = 0.4  # share of a safe component


def for_pilot(mixture: Mixture, num_fitted: int) -> Mixture:
    """Return mixtures in which each safe component has a quarter, to show whether chains that start there arrive at the posterior.

    Args:
        mixture: Proposals of R data.
        num_fitted: Number of fitted components, which are the first ones; the others are safe.
    """
    safe = mixture.shares[num_fitted:]
    return _with_safe(mixture, torch.where(safe > 0, _TRIED, 0.0).to(safe))


def after_pilot(mixture: Mixture, shares_of_weight: Tensor, num_fitted: int) -> Mixture:
    """Return mixtures with those safe components whose chains had more weight in a pilot than others, and with that share of the weight.

    Chains from a component that covers what the others miss have much weight. Those from a far one never arrive, and would only add to the
    error; and chains from the posterior, on their way back, would hardly ever end there.

    Args:
        mixture: Proposals of R data.
        shares_of_weight: Share of the weight of those chains that started at each of the C components, ``[C, R]``.
        num_fitted: Number of fitted components, which are the first ones; the others are safe.
    """
    safe = shares_of_weight[num_fitted:]
    return _with_safe(mixture, safe.clamp_max(_MOST).where(safe > _TRIED, 0.0))


def _with_safe(mixture: Mixture, safe: Tensor) -> Mixture:
    """Return mixtures with other shares ``[S, R]`` of the last components; the first ones keep their proportions."""
    first = mixture.shares[: len(mixture.shares) - len(safe)]
    return Mixture(mixture.components, torch.cat([first * ((1 - safe.sum(0)) / first.sum(0)), safe]))
