"""Discretized logistic masses against scipy, into the tails."""

import pytest
from scipy import stats
import torch

from pyro_lvm.distributions.discretized_logistic import DiscretizedLogisticMixture


@pytest.mark.parametrize("log_scale", [-7.0, -3.0, 0.0, 4.0])
@pytest.mark.parametrize("loc", [-3.0, -1.0, 0.013, 1.0, 3.0])
def test_discretized_logistic_is_exact_in_tails(loc, log_scale):
    def log_masses(dtype):
        component = [torch.full((256, 1), value, dtype=dtype) for value in (0.0, loc, log_scale)]
        return DiscretizedLogisticMixture(*component).log_prob(torch.arange(256))

    exact = log_masses(torch.float64)
    assert torch.logsumexp(exact, 0).abs() < 1e-10
    torch.testing.assert_close(log_masses(torch.float32).double(), exact, rtol=2e-5, atol=1e-4)
    edges = torch.arange(1, 256, dtype=torch.float64) / 127.5 - 1 - 1 / 255
    cdf = stats.logistic.cdf(edges, loc, torch.tensor(log_scale, dtype=torch.float64).exp())
    masses = torch.as_tensor(cdf).diff(prepend=torch.zeros(1), append=torch.ones(1))
    torch.testing.assert_close(exact.exp(), masses, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: DiscretizedLogisticMixture(torch.zeros(2), torch.zeros(2), torch.zeros(1)),
            r"the same shape \[\*batch, C\]; got \(2,\), \(2,\) and \(1,\)",
        ),
        (lambda: DiscretizedLogisticMixture(*torch.zeros(3, 1), num_levels=1), "at least 2; got 1"),
    ],
)
def test_errors_name_what_was_expected_and_got(call, message):
    with pytest.raises(ValueError, match=message):
        call()
