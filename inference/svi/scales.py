"""A warning of columns in units that networks cannot follow, as a normal or Student t density of numbers as they are leaves them."""

import torch
from torch import Tensor

from pyro_lvm.checks import warn_caller
from pyro_lvm.distributions.student_t import StudentT
from pyro_lvm.pair import Batch
from pyro_lvm.sites import Site, is_data
from pyro_lvm.structure import Structure, run_pair

_SPREADS = (0.01, 100.0)  # standard deviations that networks which start near 1 can follow
_RATIO = 100.0  # of two standard deviations, of that of means to that of the data, and of a mean to its standard deviation
_LEAST_ROWS = 10
_KINDS = (torch.distributions.Normal, StudentT, torch.distributions.StudentT)
_HARM = (
    "the fit may be much worse than the model. Standardize the columns, to which log p(x) then refers, or read them as a table with "
    "names (load_data, --data.source), whose real columns are scaled."
)


def warn_of_scales(pair: object, batch: Batch, structure: Structure) -> None:
    """Warn of data ``[B, D]`` with a normal or Student t density whose columns are far from standardized, unless the model scales them.

    It does if its means, at a few latents, move as much as the data do, up to a factor of 100 in either direction, and lie as near to the
    data's.
    """
    if 0 not in structure.observed_arguments or batch[0].dim() != 2 or len(batch[0]) < _LEAST_ROWS or _is_unit(batch[0]):
        return
    means, spreads = _moments(batch[0])
    is_far = _is_far(means, spreads)
    if not is_far.any() and not _are_uneven(spreads):
        return
    name = structure.observed[structure.observed_arguments.index(0)]
    loc = _locations(run_pair(pair, batch, validate=False, seed=0).model[name])
    if loc is None or loc.dim() != 2 or loc.shape[1] != len(spreads):
        return
    own_means, own_spreads = _moments(loc)
    is_far &= _is_far(means - own_means, spreads)
    known = spreads[spreads > 0]
    if is_far.any():
        worst = int(torch.where(is_far, means.abs() / spreads.clamp(min=1.0), 0.0).argmax())
        what = f"a mean of {float(means[worst]):.3g} beside a standard deviation of {float(spreads[worst]):.3g}"
        warn_caller(f"site '{name}' observes column {worst} with {what}, as it is, and networks start near 0: {_HARM}")
    elif _are_uneven(spreads) and _move_unlike(own_spreads, spreads):
        what = f"standard deviations are from {float(known.min()):.3g} to {float(known.max()):.3g}"
        warn_caller(f"site '{name}' observes columns whose {what}, as they are, and networks follow numbers near 1: {_HARM}")


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of the finite numbers of columns, each ``[D]``."""
    finite = torch.where(x.isfinite(), x, torch.nan).detach().double()
    means = finite.nanmean(0)
    return means.nan_to_num(), (finite - means).square().nanmean(0).sqrt().nan_to_num()


def _is_unit(x: Tensor) -> bool:
    """Whether all numbers lie between 0 and 1, as those of dequantized pixels, which have one unit."""
    finite = x[x.isfinite()]
    return bool(((finite >= 0) & (finite <= 1)).all())


def _is_far(means: Tensor, spreads: Tensor) -> Tensor:
    """Which columns lie far from 0, in standard deviations or, where these are small, in units of networks, ``[D]``."""
    return means.abs() > _RATIO * spreads.clamp(min=1.0)


def _are_uneven(spreads: Tensor) -> bool:
    known = spreads[spreads > 0]
    is_known = len(known) > 0
    return is_known and bool((known < _SPREADS[0]).any() or (known > _SPREADS[1]).any() or known.max() / known.min() > _RATIO)


def _locations(site: Site) -> Tensor | None:
    """The locations of a normal or Student t density of values as they are; None for any other, and for transformed values."""
    fn = site["fn"]
    while isinstance(getattr(fn, "base_dist", None), torch.distributions.Distribution):
        if isinstance(fn, torch.distributions.TransformedDistribution):
            return None
        fn = fn.base_dist
    return fn.loc.detach() if isinstance(fn, _KINDS) and is_data(site) else None


def _move_unlike(own: Tensor, spreads: Tensor) -> bool:
    """Whether locations of some columns move a hundred times less or more than the data; where none moves, nobody knows."""
    share = (own / spreads)[(spreads > 0) & (own > 0)]
    return bool(((share < 1 / _RATIO) | (share > _RATIO)).any())
