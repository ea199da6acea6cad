"""How the latents of a pair are used: the part of a diagnosis that takes seconds for any guide."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inference.densities.broadcasting import choose_layout
from inference.densities.scope import scoring
from inference.diagnostics.draws import diagnosable, draw_codes, draw_prior
from inference.diagnostics.estimates import Draws, level_figures, total_units
from pyro_lvm.checks import check_counts, check_seeds
from pyro_lvm.contract import check_batch
from pyro_lvm.reading import read_batch


@dataclass(frozen=True, eq=False)
class LatentUse:
    """Use of each latent of a pair; the attributes are those of :class:`~inference.diagnostics.diagnosis.Diagnosis`.

    Attributes:
        unit_variances: Var_x(E_q[z_d|x]) of the units of each continuous latent, each ``[D]``.
        collapsed: The units of each continuous latent that are not active.
        levels: Figures of single latents: rate and active units of each if there are several, and the use of discrete ones.
        standard_errors: Standard errors of these figures, and of the number of active units.
        notes: What these figures are.
    """

    unit_variances: dict[str, Tensor]
    collapsed: dict[str, tuple[int, ...]]
    levels: dict[str, float]
    standard_errors: dict[str, float]
    notes: dict[str, str]


def latent_use(pair: object, data: Any, *, num_data: int = 1000, seed: int = 0) -> LatentUse:
    """Measure which units of the continuous latents vary with the data, and which values the discrete ones take.

    Args:
        pair: Any pair.
        data: As for :func:`~inference.diagnostics.diagnosis.diagnose`.
        num_data: Number of random data to use, if there are more.
        seed: Seed of the choice of data, and of the draws.

    Raises:
        ValueError: As :func:`~inference.diagnostics.diagnosis.diagnose`.
    """
    check_counts(num_data=num_data)
    check_seeds(seed=seed)
    batch = read_batch(pair, (data,))
    size = check_batch(*batch)
    with scoring(pair, batch[0].device):
        structure, layout = diagnosable(pair, batch), choose_layout(pair, batch)
        rows = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:num_data].to(batch[0].device)
        codes = draw_codes(pair, batch, structure, rows, 1, layout, seed)
        draws, _ = draw_prior(pair, batch, num_data, structure.latents, layout, seed)
        figures, units = level_figures(pair, batch, rows, structure, Draws(codes, draws), layout, seed)
    return LatentUse(
        {name: unit.variance for name, unit in units.items()},
        {name: unit.collapsed for name, unit in units.items()},
        {name: figure.value for name, figure in figures.items()},
        {name: figure.error for name, figure in (figures | {"active_units": total_units(units)}).items()},
        {name: figure.note for name, figure in figures.items()},
    )
