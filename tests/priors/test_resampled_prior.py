"""The resampled prior against its closed form, and the error of its normalizer."""

import math

import pytest
import torch
from torch import nn

from pyro_lvm import MLP, ResampledPrior
from pyro_lvm.testing import check_prior


class Step(nn.Module):
    """Accepts numbers below 0 with probability .2, and all others with probability .8."""

    def forward(self, z):
        return torch.where(z < 0, math.log(0.25), math.log(4.0)).to(z)


@pytest.mark.parametrize("truncation", [2, 5, 100])
def test_the_density_is_that_of_accepted_and_last_proposals(truncation):
    prior = ResampledPrior(Step(), 1, truncation=truncation, num_draws=2**20).double().eval()
    z, beta = torch.tensor([[-1.3], [0.4]]).double(), 0.5 ** (truncation - 1)
    expected = (
        torch.distributions.Normal(0.0, 1.0).log_prob(z[:, 0]) + torch.tensor([(1 - beta) * a / 0.5 + beta for a in (0.2, 0.8)]).log()
    )
    value, error, rejection = prior.normalizer()
    torch.testing.assert_close(prior().log_prob(z), expected, rtol=0, atol=5 * error.item())
    assert error.item() == pytest.approx(0.6 / 2**10, rel=0.01)  # a / Z is .4 or 1.6
    torch.testing.assert_close(value.exp() + rejection.exp(), torch.ones(()).double())


def test_draws_are_accepted_or_last():
    torch.manual_seed(0)
    z = ResampledPrior(Step(), 1, truncation=3).eval()().sample((40_000,))
    share = (z >= 0).double().mean().item()
    assert share == pytest.approx(0.75 * 0.8 + 0.25 * 0.5, abs=5 * (0.25 / 40_000) ** 0.5)


def test_many_dimensions_are_checked_by_importance_sampling():
    said = check_prior(lambda: ResampledPrior(MLP(3, [4], 1), 3), spread=1.0, tolerance=0.01)
    assert any("importance sampling with 50000 draws" in line for line in said)


def test_a_large_error_of_the_normalizer_is_warned_of():
    with pytest.warns(UserWarning, match=r"standard error of 0\.05\d nats.*Raise num_draws"):
        ResampledPrior(Step(), 1, num_draws=100).eval()()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ResampledPrior(MLP(2, [4], 1), 2, truncation=1), "truncation must be an integer of at least 2; got 1"),
        (lambda: ResampledPrior(MLP(2, [4], 1), 0), "latent_dim must be an integer of at least 1; got 0"),
    ],
)
def test_errors_name_the_remedy(build, message):
    with pytest.raises(ValueError, match=message):
        build()
