"""Which units of the continuous latents carry information about the data."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from inference.densities.layout import Layout, run_guide
from inference.numerics import seeded_blocks
from pyro_lvm.pair import Batch, programs
from pyro_lvm.sites import Site, sites_of

THRESHOLD = 0.01
_DRAWS = 32
_ROWS = 4096  # draws times data in one run


class Units(NamedTuple):
    """Activity of the D units of a continuous latent.

    Attributes:
        variance: Var_x(E_q[z_d|x]), shape ``[D]``.
        error: Its standard error over the data, shape ``[D]``.
        threshold: Variance above which a unit is active.
    """

    variance: Tensor
    error: Tensor
    threshold: float = THRESHOLD

    @property
    def active(self) -> int:
        """The number of units whose variance exceeds the threshold."""
        return int((self.variance > self.threshold).sum())

    @property
    def active_error(self) -> float:
        """Standard error of :attr:`active`; the probability that a unit is active follows from its variance and its error."""
        doubt = torch.special.ndtr((self.variance - self.threshold).abs() / -self.error)  # [D]
        return float((doubt * (1 - doubt)).nan_to_num().sum().sqrt())

    @property
    def collapsed(self) -> tuple[int, ...]:
        """The units that are not active."""
        return tuple((~(self.variance > self.threshold)).nonzero().flatten().tolist())


def active_units(pair: object, batch: Batch, rows: Tensor, names: Sequence[str], layout: Layout, seed: int) -> dict[str, Units]:
    r"""Compute the variance over the data of the posterior mean of every continuous unit.

    .. math:: A_d = \operatorname{Var}_x \left( E_{q(z \mid x)}[z_d] \right)

    Means without a closed form are averages of 32 draws, and the variance that this adds is subtracted.

    Args:
        pair: Any pair.
        batch: All data, observations ``[N, *X]`` first.
        rows: Rows of the data to use, shape ``[S]``.
        names: The continuous latents.
        layout: As returned by :func:`~inference.densities.broadcasting.choose_layout`.
        seed: Seed of the draws.

    Returns:
        The units by site.

    References:
        Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders. https://arxiv.org/abs/1509.00519
    """
    moments: dict[str, list[Tensor]] = {name: [] for name in names}
    for part in seeded_blocks(rows, _ROWS // _DRAWS, seed, 2):
        sites = sites_of(run_guide(programs(pair)[1], tuple(x[part] for x in batch), _DRAWS, layout))
        for name in names:
            value = layout.split(_mean_or_draw(sites[name]), _DRAWS, len(part)).double()
            moments[name].append(_moments(value.reshape(_DRAWS, len(part), -1)))
    return {name: _units(*torch.cat(parts, 1)) for name, parts in moments.items()}


def _moments(value: Tensor) -> Tensor:
    """The mean over draws, and the variance of that mean due to the draws, ``[2, B, D]``."""
    return torch.stack([value.mean(0), value.var(0) / _DRAWS])


def _mean_or_draw(site: Site) -> Tensor:
    try:
        mean = site["fn"].mean
    except NotImplementedError:
        return site["value"]
    return mean.expand_as(site["value"]) if mean.isfinite().all() else site["value"]


def _units(mean: Tensor, excess: Tensor) -> Units:
    size = len(mean)
    terms = (mean - mean.mean(0)) ** 2 * size / (size - 1) - excess  # [S, D]
    return Units(terms.mean(0).cpu(), (terms.std(0) / size**0.5).cpu())
