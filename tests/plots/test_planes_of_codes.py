"""Planes of codes: what is drawn are the codes and the prior, and holes are where they are."""

import numpy as np
from pairs import autoguide, binary, codes, enumerated
from posteriors import normal_pair, standard
import pytest
import torch

from inference import fit, plot_codes
from inference.plots.planes import NUM_CELLS, _plane, holes


def clusters(centers, size=40, scale=0.3):
    """Data that hold their own q(z|x), around each of the centers, and the number of the center of each, in random order."""
    centers = torch.as_tensor(centers).double()
    loc = centers.repeat_interleave(size, 0)
    order = torch.randperm(len(loc), generator=torch.Generator().manual_seed(0))
    return torch.cat([loc, torch.full_like(loc, scale)], -1)[order], torch.arange(len(centers)).repeat_interleave(size)[order]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


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
    z = torch.cat([signal.expand(2, -1, -1), noise], -1) @ rotation
    plane, prior, _ = _plane(z, z.flatten(0, 1))
    np.testing.assert_array_equal(plane, prior)
    np.testing.assert_allclose(np.cov(plane.T), np.eye(2), atol=1e-6)
    explained = np.linalg.lstsq(np.c_[plane[:800], np.ones(800)], signal.numpy(), rcond=None)[1] / (800 * signal.var(0).numpy())
    assert (explained < 0.01).all()


def test_dots_are_codes_of_the_data_that_their_labels_name():
    centers = [[0, 0], [40, 0], [0, 40]]
    x, labels = clusters(centers)
    axes = plot_codes(normal_pair(standard(2)), x, labels=[f"no. {label}" for label in labels], num_codes=600)
    assert legend(axes)[1:4] == ["codes: no. 0", "codes: no. 1", "codes: no. 2"]
    dots = [np.array(line.get_data()).T for line in axes.lines]
    assert sum(map(len, dots)) == 2 * 2 * 120
    for center, group in zip(centers, dots, strict=True):
        assert len(group) == 160
        np.testing.assert_allclose(group.mean(0), center, atol=4 * 0.3 / 160**0.5)
        np.testing.assert_allclose(group.std(0), 0.3, rtol=4 / 320**0.5)


def test_marks_are_where_prior_and_codes_differ():
    pair, generator = normal_pair(standard(2)), torch.Generator().manual_seed(1)
    far = plot_codes(pair, clusters([[9, 9]])[0])
    assert legend(far) == ["prior: 50% and 90% of it", "codes", "prior without codes", "codes without prior"]
    alike = torch.randn(3000, 2, generator=generator).double()
    fine = plot_codes(pair, torch.cat([0.8 * alike, torch.full_like(alike, 0.6)], -1))
    assert legend(fine) == ["prior: 50% and 90% of it", "codes"]


def test_curves_of_one_dimension_are_shares_of_codes_and_prior():
    x, labels = clusters([[-2], [1], [1]], size=500, scale=0.5)
    pair = normal_pair(standard(1))
    axes = plot_codes(pair, x, num_codes=40_000)
    prior, codes_curve = axes.lines
    z = prior.get_xdata()
    width = z[1] - z[0]
    smoothing = 2 * width  # standard deviation of the kernel, with which the density of a normal variable stays normal
    normals = torch.distributions.Normal(torch.tensor([-2.0, 1.0]), (0.5**2 + smoothing**2 + width**2 / 12) ** 0.5)
    both = normals.log_prob(torch.tensor(z)[:, None]).exp().numpy()
    exact = width * both @ [1 / 3, 2 / 3]
    np.testing.assert_allclose(codes_curve.get_ydata(), exact, atol=4 * (exact.max() / 42_000) ** 0.5)
    np.testing.assert_allclose(prior.get_ydata().sum(), 1, atol=1e-9)
    assert axes.get_ylabel() == f"share in each of {NUM_CELLS} cells"
    own = plot_codes(pair, x, labels=labels, num_codes=40_000)
    shares = [line.get_ydata() for line in own.lines[1:]]
    np.testing.assert_allclose([share.sum() for share in shares], 1 / 3, atol=0.003)
    np.testing.assert_allclose(sum(shares), codes_curve.get_ydata(), atol=2e-4)


def test_what_cannot_be_drawn_is_refused():
    x, labels = clusters([[0, 0]])
    pair = normal_pair(standard(2))
    with pytest.raises(ValueError, match="one value for each of 40 data; got 39"):
        plot_codes(pair, x, labels=labels[1:])
    with pytest.raises(ValueError, match="at most 20 values, which colors tell apart; got 40"):
        plot_codes(pair, x, labels=range(40))
    with pytest.raises(ValueError, match="num_codes must be an integer of at least 2"):
        plot_codes(pair, x, num_codes=1)
    with pytest.raises(ValueError, match="latents must be continuous"):
        plot_codes(codes(), torch.rand(20, 12).round())
    own_rows = fit(autoguide(), binary(), epochs=1, progress=False).pair
    with pytest.raises(ValueError, match="parameters belong to the rows of its training data"):
        plot_codes(own_rows, binary())


def test_several_latents_are_one_vector_and_sums_are_left_out():
    axes = plot_codes(enumerated(), torch.rand(30, 12).round(), num_codes=60)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_1$", "$z_2$")
