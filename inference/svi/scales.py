"""A warning of columns in units that networks cannot follow, as a normal or Student t density of numbers as they are leaves them."""

import torch
from torch import Tensor

from pyro_lvm.checks import warn_caller
from pyro_lvm.distributions.student_t import StudentT
from pyro_lvm.pair import Batch
from pyro_lvm.sites import Site, innermost, is_data
from pyro_lvm.structure import Structure, run_pair

_SPREADS = (0.01, 100.0)  # standard deviations that networks which start near 1 can follow
_RATIO = 100.0  # of two standard deviations, and of that of means to that of the data
_LEAST_ROWS = 10
_KINDS = (torch.distributions.Normal, StudentT, torch.distributions.StudentT)


def warn_of_scales(pair: object, batch: Batch, structure: Structure) -> None:
    """Warn of data ``[B, D]`` with a normal or Student t density whose columns are far from standardized, unless the model scales them.

    It does if its means, at a few latents, move as much as the data do, up to a factor of 100 in either direction.
    """
    if 0 not in structure.observed_arguments or batch[0].dim() != 2 or len(batch[0]) < _LEAST_ROWS:
        return
    name = structure.observed[structure.observed_arguments.index(0)]
    spread = _spread(batch[0])
    is_far = (spread < _SPREADS[0]) | (spread > _SPREADS[1])
    known = spread[spread > 0]
    if not len(known) or not (bool(is_far[spread > 0].any()) or float(known.max() / known.min()) > _RATIO) or _is_unit(batch[0]):
        return
    site = run_pair(pair, batch, validate=False, seed=0).model[name]
    if isinstance(innermost(site["fn"]), _KINDS) and _is_unscaled(site, spread):
        warn_caller(
            f"site '{name}' observes columns whose standard deviations are from {float(known.min()):.3g} to {float(known.max()):.3g}, as "
            "they are, and networks follow numbers near 1: the fit may be much worse than the model. Standardize the columns, to which "
            "log p(x) then refers, or read them as a table with names (load_data, --data.source), whose real columns are scaled."
        )


def _spread(x: Tensor) -> Tensor:
    """Standard deviations of the finite numbers of columns, ``[D]``."""
    finite = torch.where(x.isfinite(), x, torch.nan).double()
    return (finite - finite.nanmean(0)).square().nanmean(0).sqrt().nan_to_num()


def _is_unit(x: Tensor) -> bool:
    """Whether all numbers lie between 0 and 1, as those of dequantized pixels, which have one unit."""
    finite = x[x.isfinite()]
    return bool(((finite >= 0) & (finite <= 1)).all())


def _is_unscaled(site: Site, spread: Tensor) -> bool:
    """Whether means of some columns move a hundred times less or more than the data; where none moves, nobody knows."""
    loc = innermost(site["fn"]).loc.detach()
    if not is_data(site) or loc.dim() != 2 or loc.shape[1] != len(spread):
        return False
    moved = _spread(loc)
    share = (moved / spread)[(spread > 0) & (moved > 0)]
    return bool(((share < 1 / _RATIO) | (share > _RATIO)).any())
