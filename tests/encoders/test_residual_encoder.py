"""Residual guides against their conditionals and a closed form."""

import pytest
import torch
from torch import nn
from torch.distributions import kl_divergence

from pyro_lvm import MLP, Join, NormalEncoder, ResidualNormalEncoder


def residual(offsets, event_dims=1):
    torch.manual_seed(2)
    conditional = NormalEncoder(MLP(3, [5], 4))
    encoder = ResidualNormalEncoder(conditional, Join(network=MLP(3 + 2, (), 4))).double()
    with torch.no_grad():
        encoder.network.network.layers[0].weight.zero_()
        encoder.network.network.layers[0].bias.copy_(torch.tensor(offsets))
    return conditional, encoder


def test_a_residual_guide_without_offsets_is_its_prior():
    conditional, encoder = residual([0.0] * 4)
    h, e, z = torch.randn(5, 3).double(), torch.randn(5, 2).double(), torch.randn(5, 2).double()
    torch.testing.assert_close(encoder(e, h).log_prob(z), conditional(h).log_prob(z), rtol=0, atol=1e-12)


def test_the_kl_of_a_residual_guide_depends_on_its_offsets_alone():
    a, b = torch.tensor([0.5, -1.0]).double(), torch.tensor([0.2, -0.3]).double()
    conditional, encoder = residual([*a, *b])
    h, e = 3 * torch.randn(5, 3).double(), torch.randn(5, 2).double()
    expected = 0.5 * (a**2 + (2 * b).exp() - 2 * b - 1).sum()
    torch.testing.assert_close(kl_divergence(encoder(e, h), conditional(h)), expected.expand(5))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: ResidualNormalEncoder(nn.Identity(), nn.Identity()), TypeError, "conditional must be a NormalEncoder; got Identity"),
        (
            lambda: ResidualNormalEncoder(NormalEncoder(MLP(3, (), 4)), Join(network=MLP(6, (), 2)))(torch.ones(5, 3), torch.ones(5, 3)),
            ValueError,
            r"two offsets for each of the conditional's latents, \(2,\); got offsets of shape \(1,\)",
        ),
    ],
)
def test_errors_name_the_remedy(build, error, message):
    with pytest.raises(error, match=message):
        build()
