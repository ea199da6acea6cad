"""How many chains start at the safe components of a proposal."""

import torch
from torch import Tensor

from inference.scoring.proposals.student import Mixture

_TRIED = 0.25  # share of a safe component whose chains are of use, or that is to show whether they are
_USEFUL = 0.1  # share of a pilot's weight that makes its chains useful


def tried(mixture: Mixture, num_safe: int) -> Mixture:
    """Return mixtures in which each safe component has a quarter, to show whether chains that start there arrive at the posterior.

    Args:
        mixture: Proposals of R data.
        num_safe: Number of safe components, which are the last ones.
    """
    return _with_safe(mixture, _raised(mixture.shares[-num_safe:]))


def judged(mixture: Mixture, num_safe: int, shares_of_weight: Tensor) -> tuple[Mixture, Mixture]:
    """Return proposals for chains towards the posterior, and for chains from it.

    Safe components that are of use have a quarter at least. The others are left as they are for the former, and left out for the latter,
    which would seldom arrive there, and whose weights would then be off by the logarithm of these components' share.

    Args:
        mixture: Proposals of R data.
        num_safe: Number of safe components, which are the last ones.
        shares_of_weight: Share of the weight of a pilot's chains that started at each of the C components, ``[C, R]``.
    """
    safe, is_useful = mixture.shares[-num_safe:], shares_of_weight[-num_safe:] > _USEFUL
    useful = _raised(safe).where(is_useful, 0.0)
    return _with_safe(mixture, useful.where(is_useful, safe)), _with_safe(mixture, useful)


def _raised(safe: Tensor) -> Tensor:
    return torch.where(safe > 0, safe.clamp_min(_TRIED), 0.0)


def _with_safe(mixture: Mixture, safe: Tensor) -> Mixture:
    """Return mixtures with other shares ``[S, R]`` of the last components; the first ones keep their proportions."""
    first = mixture.shares[: -len(safe)]
    return Mixture(mixture.components, torch.cat([first * ((1 - safe.sum(0)) / first.sum(0)), safe]))
