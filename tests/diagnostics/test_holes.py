"""Holes of known size, and errors of shares and areas against repeated samples."""

import math

from posteriors import QUIET, close, encoded, matched, normal_pair, standard
import pytest
import torch

from inference import diagnose
from inference.diagnostics.holes import _auc_error, share_below, two_sample_auc
from pyro_lvm import DiagNormalMixture


def outside_share(weight, quantile):
    """P(w phi(z) < t), z in the plane, at the quantile t of the density of two normals far apart with weights w and 1 - w.

    exp(-r^2 / 2) is uniform, so that a component of weight w has a share 2 pi t / w below t, and the mixture 4 pi t.
    """
    return quantile / (2 * weight)


def test_shares_of_a_prior_with_a_component_that_no_code_uses():
    loc = torch.tensor([[0.0, 0.0], [20.0, 0.0]]).double()
    prior = DiagNormalMixture(torch.tensor([0.7, 0.3]).double().log(), loc, torch.ones(2, 2).double())
    diagnosis = diagnose(normal_pair(prior), matched(2000, 2, 0.5), quantile=0.05, num_draws=2000, **QUIET)
    assert close(diagnosis, "holes_prior", 0.3 + 0.7 * 0.05) < 0.015
    assert close(diagnosis, "holes_codes", outside_share(0.7, 0.05)) < 0.01
    assert diagnosis.marginal_kl == pytest.approx(-math.log(0.7), abs=0.05)


def test_shares_of_codes_where_the_prior_never_samples():
    x = matched(2000, 2, 0.5)
    x[:400, 0] += 20
    diagnosis = diagnose(normal_pair(standard(2)), x, quantile=0.05, num_draws=2000, **QUIET)
    assert close(diagnosis, "holes_codes", 0.2 + 0.8 * 0.05) < 0.015
    assert close(diagnosis, "holes_prior", outside_share(0.8, 0.05)) < 0.01


def test_a_matched_model_in_many_dimensions_has_no_holes():
    diagnosis = diagnose(normal_pair(standard(40)), matched(10_000, 40, 0.3), num_draws=1000, **QUIET)
    for name in ("holes_prior", "holes_codes"):
        assert close(diagnosis, name, 0.01) < 0.006
    assert close(diagnosis, "auc", 0.5) < 0.025
    assert close(diagnosis, "dimension_kl", 0.0) < 0.05
    close(diagnosis, "rate", 40 * -math.log(0.3))
    assert diagnosis.mutual_information == pytest.approx(math.log(10_000), abs=1e-3)
    assert diagnosis.marginal_kl == pytest.approx(diagnosis.rate - math.log(10_000), abs=1e-3)
    assert "too low this close to it" in diagnosis.notes["mutual_information"]
    assert diagnosis.marginal_kl_held_out < 0 < diagnosis.marginal_kl
    assert diagnosis.active_units == 40


def log_ring(r, radius, scale):
    """Log density of normals along a circle, at radius r, up to a constant."""
    return -0.5 * ((r - radius) / scale) ** 2 + torch.special.i0e(r * radius / scale**2).log()


def test_a_ring_of_codes_leaves_a_hole_that_the_right_prior_fills():
    radius, scale = 3.2, 0.15
    angle = torch.arange(2000).double() * 2 * math.pi / 2000
    loc = radius * torch.stack([angle.cos(), angle.sin()], 1)
    x = encoded(loc, scale)
    diagnosis = diagnose(normal_pair(standard(2)), x, num_draws=1500, **QUIET)
    generator = torch.Generator().manual_seed(1)
    along = radius + scale * torch.randn(200_000, generator=generator).double()
    r = (along.square() + scale**2 * torch.randn(200_000, generator=generator).double().square()).sqrt()  # radii of codes
    level = log_ring(r, radius, scale).quantile(0.01)
    prior_r = (-2 * torch.rand(200_000, generator=generator).double().log()).sqrt()
    outside = (log_ring(prior_r, radius, scale) < level).double().mean()
    assert close(diagnosis, "holes_prior", float(outside)) < 0.01
    assert close(diagnosis, "holes_codes", float((r > (-2 * math.log(0.01)) ** 0.5).double().mean())) < 0.06
    assert diagnosis.holes_prior > 0.9 and diagnosis.holes_codes > 0.8
    assert diagnosis.auc > 0.97 and diagnosis.reverse_kl > 10 and diagnosis.marginal_kl > 2

    ring = DiagNormalMixture(torch.zeros(2000).double(), loc, torch.full((2000, 2), scale).double())
    refitted = diagnose(normal_pair(ring), x, num_draws=1500, **QUIET)
    for name, expected in (("holes_prior", 0.01), ("holes_codes", 0.01), ("auc", 0.5)):
        close(refitted, name, expected)
    assert refitted.marginal_kl == pytest.approx(0, abs=1e-9) == refitted.reverse_kl


def test_errors_of_shares_and_areas_are_those_of_repeated_samples():
    generator = torch.Generator().manual_seed(0)
    scores = 0.5 + torch.randn(300, 500, generator=generator).double()
    reference = torch.randn(300, 400, generator=generator).double()
    pairs = list(zip(scores, reference, strict=True))
    shares = torch.tensor([share_below(*pair, 0.1, num_scores=500, num_reference=400) for pair in pairs])
    share = torch.special.ndtr(torch.special.ndtri(torch.tensor(0.1).double()) - 0.5)
    z = (shares[:, 0] - share) / shares[:, 1]
    assert abs(z.mean()) < 0.25 and 0.85 < z.std() < 1.15
    areas = torch.tensor([float((a[:, None] > b).double().mean()) for a, b in pairs])
    assert 0.85 < areas.std() / _auc_error(float(areas.mean()), 400, 500) < 1.15
    assert share_below(torch.zeros(100), -torch.ones(100), 0.1, num_scores=100, num_reference=100)[1] > 0
    assert _auc_error(1.0, 50, 50) > 0


def test_a_classifier_with_nothing_to_tell_scatters_no_more_than_it_says():
    samples = torch.randn(12, 2, 400, 3, generator=torch.Generator().manual_seed(0))
    z = torch.tensor([(auc - 0.5) / error for auc, error in (two_sample_auc(*pair, seed=0) for pair in samples)])
    assert 0.3 < z.square().mean().sqrt() < 1.5
