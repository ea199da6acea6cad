"""Pictures that only a report has: units of latents, and planes of codes side by side."""

from pathlib import Path

import numpy as np
from posteriors import normal_pair, standard
import torch

from inference.report.plots.latents import draw_codes
from inference.report.plots.units import UnitUse, draw_units


def test_pictures_of_latent_spaces_of_any_dimension(tmp_path: Path) -> None:
    models = {}
    for D in (1, 2, 3, 7):
        loc = torch.randn(60, D, generator=torch.Generator().manual_seed(D)).double()
        models[f"{D}-D"] = (normal_pair(standard(D)), (torch.cat([5 * loc, torch.ones_like(loc)], -1),))
    draw_codes(models, tmp_path / "codes.png")
    variance = torch.tensor([0.5, -1e-9, 0.002])
    units = UnitUse(variance, (1, 2), torch.tensor([0.1, 3.0, 0.0]), torch.tensor([0.01, np.nan, 0.0]))
    draw_units({"a": units, "b": UnitUse(variance[:1], ())}, tmp_path / "kl.png")
    assert {path.name for path in tmp_path.iterdir()} == {"codes.png", "kl.png"}
