"""Ladders and stacks of levels: what they learn, compute and start from."""

import math

from hierarchies import conv_vae, images, ladder_vae, stacked_vae
import pytest
import torch
from torch import nn

from inference import encode, fit, log_weights, reconstruct, sample_prior
from inference.densities.broadcasting import choose_layout
from pyro_lvm import HierarchicalVAE, Levels, StandardNormal, VampPrior, conv_ladder, ladder, stacked
from pyro_lvm.pair import param_scope


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (stacked_vae, images(6)[:, 0, 0]),
        (lambda: stacked_vae(L=3), images(6)[:, 0, 0]),
        (ladder_vae, images(6)[:, 0, 0]),
        (lambda: conv_vae(8, [4, 4]), images(8)),
        (lambda: conv_vae(28, [4, 4, 4]), images(28)),
    ],
    ids=["stacked", "stacked-3", "ladder-3", "conv-8", "conv-28"],
)
def test_every_construction_learns_all_its_parameters(make, x):
    vae = make()
    before = [p.detach().clone() for p in vae.parameters()]
    losses = fit(vae, x, epochs=25, learning_rate=0.01, progress=False).history.train_loss
    assert losses.iloc[-5:].mean() < losses.iloc[:5].mean()
    assert all((p != old).any() for p, old in zip(vae.parameters(), before, strict=True))
    with param_scope(vae):
        assert choose_layout(vae, (x,)).style == "broadcast"
    assert sample_prior(vae, x, seed=0).shape == reconstruct(vae, x, seed=0).shape == x.shape


def test_latents_below_the_top_of_a_conv_ladder_are_images():
    codes = encode(conv_vae(28, [4, 6, 5]), images(28))
    assert {name: tuple(z.shape[1:]) for name, z in codes.items()} == {"z3": (3,), "z2": (2, 7, 7), "z1": (2, 14, 14)}


def test_features_of_the_data_are_computed_once_and_not_for_every_particle():
    vae, x, rows = ladder_vae(), images(6)[:, 0, 0], []
    vae.levels.bottom_up.steps[0].register_forward_hook(lambda module, inputs, output: rows.append(output[..., 0].numel()))
    log_weights(vae, x, num_particles=100, seed=0)
    assert max(rows) == 6


def test_a_vamp_prior_on_top_is_the_mixture_of_the_guides_top_level():
    vae = ladder_vae()
    u, z = torch.rand(3, 6).double(), torch.randn(5, 2).double()
    expected = vae.levels.encoders[0](vae.levels.bottom_up(u)[0]).log_prob(z[:, None]).logsumexp(1) - math.log(3)
    prior = VampPrior(vae.levels.top(), u)
    torch.testing.assert_close(prior().log_prob(z), expected)
    shared = {id(p) for p in vae.levels.parameters()}
    assert sum(id(p) not in shared for p in prior.parameters()) == 2  # pseudo-inputs and weights


def test_a_ladders_guide_starts_as_its_prior() -> None:
    torch.manual_seed(0)
    for levels, x in ((ladder(6, [3, 2], [8]), torch.randn(4, 6)), (conv_ladder((1, 8, 8), 3, [4, 5]), torch.randn(4, 1, 8, 8))):
        h = levels.path[0](torch.randn(4, 3))
        q, p = levels.encoders[1](levels.bottom_up(x)[1], h), levels.conditionals[0](h)
        torch.testing.assert_close(torch.distributions.kl_divergence(q, p), torch.zeros(4))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: stacked(6, [2], [8]), ValueError, "levels must be an integer of at least 2; got 1"),
        (lambda: ladder(6, [], [8]), ValueError, "levels must be an integer of at least 2; got 0"),
        (lambda: conv_ladder((1, 8, 8), 2, [4]), ValueError, "levels must be an integer of at least 2; got 1"),
        (lambda: Levels([nn.Identity()], []), ValueError, "levels must be an integer of at least 2; got 1"),
        (lambda: Levels([nn.Identity()] * 3, [nn.Identity()]), ValueError, "conditionals must have 2 modules for 3 encoders; got 1"),
        (lambda: Levels([nn.Identity()] * 2, [nn.Identity()], path=[]), ValueError, "path must have 2 modules for 2 encoders; got 0"),
        (lambda: stacked(6, [2, 2], []), ValueError, "hidden must hold at least one width"),
        (lambda: stacked(6, [2, 0], [8]), ValueError, "must hold positive sizes; got 0"),
        (lambda: conv_ladder((8, 8), 2, [4, 4]), ValueError, r"in_shape must be \(channels, height, width\); got \(8, 8\)"),
        (lambda: conv_ladder((1, 8, 8), 2, [4] * 4), ValueError, "channels must have 1 to 3 entries"),
        (lambda: HierarchicalVAE(StandardNormal(2), nn.Identity(), nn.Identity()), TypeError, "levels must be a Levels; got Identity"),
    ],
)
def test_errors_name_the_remedy(build, error, message):
    with pytest.raises(error, match=message):
        build()
