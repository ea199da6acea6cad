"""Rows of images: what is drawn are the pixels, on one gray scale."""

import numpy as np
import pytest
import torch

from inference import plot_samples
from inference.plots.images import GAP_GRAY, image_shape


def drawn(axes):
    (picture,) = axes.images
    return picture.get_array()


def test_image_shapes():
    shapes = {(64,): (8, 8), (784,): (28, 28), (560,): (28, 20), (28, 20): (28, 20), (3, 9, 8): (9, 8, 3)}
    assert {shape: image_shape(torch.Size(shape)) for shape in shapes} == shapes
    for shape in ((9,), (63,), (2, 8, 8), ()):
        with pytest.raises(ValueError, match="only images"):
            image_shape(torch.Size(shape))


@pytest.mark.parametrize("shape", [(12, 10), (1, 12, 10), (3, 12, 10)])
def test_every_pixel_is_drawn_on_the_scale_of_the_first_row(shape):
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0)) * 6 - 1
    axes = plot_samples({"data": x, "twice": 2 * x})
    low, high = float(x.min()), float(x.max())
    for row, factor in enumerate((1, 2)):
        for column in range(4):
            cell = drawn(axes)[13 * row : 13 * row + 12, 11 * column : 11 * column + 10]
            expected = ((factor * x[column].double() - low) / (high - low)).clamp(0, 1).numpy()
            expected = expected[0] if shape[0] == 1 else np.moveaxis(expected, 0, -1) if len(shape) == 3 else expected
            np.testing.assert_allclose(cell, expected, rtol=1e-6)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["data", "twice"]
    assert axes.get_yticks().tolist() == [6.5, 19.5]


def test_a_row_is_wrapped_and_its_rest_is_gray():
    x = torch.arange(5 * 64).reshape(5, 64)
    picture = drawn(plot_samples(x, columns=3))
    assert picture.shape == (2 * 9, 3 * 9)
    np.testing.assert_allclose(picture[9:17, 9:17], x[4].reshape(8, 8) / (5 * 64 - 1))
    np.testing.assert_allclose(picture[9:, 18:], GAP_GRAY)


def test_missing_values_are_blank_and_constants_are_drawn():
    x = torch.zeros(2, 64)
    x[1, 0] = torch.nan
    picture = drawn(plot_samples(x))
    assert picture.mask[0, 9] and picture.mask.sum() == 1 and picture[0, 0] == 0
    assert drawn(plot_samples(torch.ones(1, 64)))[0, 0] == 1
    assert drawn(plot_samples(np.ones((1, 64), dtype=bool)))[0, 0] == 1


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        plot_samples({})
    with pytest.raises(ValueError, match="as many images of one shape for each name; got {'a': \\(2, 64\\), 'b': \\(3, 64\\)}"):
        plot_samples({"a": torch.zeros(2, 64), "b": torch.zeros(3, 64)})
    with pytest.raises(ValueError, match="only images"):
        plot_samples(torch.zeros(2, 9))
    with pytest.raises(ValueError, match="columns must be an integer of at least 1"):
        plot_samples(torch.zeros(2, 64), columns=0)
    with pytest.raises(ValueError, match="images must be finite"):
        plot_samples(torch.full((2, 8, 8), torch.inf))
