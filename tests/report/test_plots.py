"""Pictures: planes of codes, holes in them, and shapes of images."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from inference.drawing import colors_of
from inference.report.plots import images as pictures
from inference.report.plots.curves import _loss_limit, draw_history
from inference.report.plots.latents import _plane, draw_codes, holes
from inference.report.plots.units import UnitUse, draw_units


def test_holes_are_where_one_density_is_high_and_the_other_a_tenth():
    first, second = np.array([0.5, 0.3, 0.15, 0.05, 0.0]), np.array([0.05, 0.031, 0.0, 0.0, 0.919])
    assert holes(first, second).tolist() == [True, False, False, False, False]
    assert holes(second, first).tolist() == [False, False, False, False, True]
    assert not holes(first, first).any()


def test_the_plane_is_the_one_that_tells_data_apart():
    """Of 10 rotated dimensions two differ between data; the others have more variance, and it is all noise."""
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(10, 10, generator=generator)).Q
    signal = torch.randn(800, 2, generator=generator)
    noise = 5 * torch.randn(2, 800, 8, generator=generator)
    codes = torch.cat([signal.expand(2, -1, -1), noise], -1) @ rotation
    plane, prior = _plane(codes, codes.flatten(0, 1))
    np.testing.assert_array_equal(plane, prior)
    np.testing.assert_allclose(np.cov(plane.T), np.eye(2), atol=1e-6)
    explained = np.linalg.lstsq(np.c_[plane[:800], np.ones(800)], signal.numpy(), rcond=None)[1] / (800 * signal.var(0).numpy())
    assert (explained < 0.01).all()


def test_pictures_of_latent_spaces_of_any_dimension(tmp_path):
    codes = {f"{D}-D": torch.randn(2, 50, D, generator=torch.Generator().manual_seed(D)) for D in (1, 2, 3, 7)}
    draw_codes(codes, {name: 10 * z.flatten(0, 1) for name, z in codes.items()}, tmp_path / "codes.png")
    variance = torch.tensor([0.5, -1e-9, 0.002])
    units = UnitUse(variance, (1, 2), torch.tensor([0.1, 3.0, 0.0]), torch.tensor([0.01, np.nan, 0.0]))
    draw_units({"a": units, "b": UnitUse(variance[:1], ())}, tmp_path / "kl.png")
    assert {path.name for path in tmp_path.iterdir()} == {"codes.png", "kl.png"}


def test_no_fit_is_outside_the_picture_of_losses():
    histories = {
        "steep": pd.DataFrame({"valid_loss": [900.0, 24.0, 23.0, 22.5, 22.0, 21.9]}),
        "poor": pd.DataFrame({"valid_loss": [120.0, 110.0, np.nan]}),
    }
    assert 110 < _loss_limit(histories) < 120
    assert 21.9 < _loss_limit({"steep": histories["steep"]}) < 40


def test_many_models_have_many_colors():
    assert all(len(set(colors_of(dict.fromkeys(range(count))))) == count for count in (1, 7, 8, 20))


def test_image_shapes() -> None:
    shapes = {(64,): (8, 8), (784,): (28, 28), (560,): (28, 20), (28, 20): (28, 20), (3, 9, 8): (9, 8, 3)}
    assert {shape: pictures.image_shape(torch.Size(shape)) for shape in shapes} == shapes
    for shape in ((9,), (63,), (2, 8, 8), ()):
        with pytest.raises(ValueError, match="only images"):
            pictures.image_shape(torch.Size(shape))


def test_a_fit_that_stopped_in_its_first_epoch_is_an_empty_picture(tmp_path: Path) -> None:
    empty = pd.DataFrame(columns=["epoch", "train_loss", "valid_loss"])
    draw_history({"a": empty}, tmp_path / "history.png")
    assert (tmp_path / "history.png").stat().st_size > 1000
