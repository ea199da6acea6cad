"""The logistic normal distribution against scipy: its density, draws and gradients."""

import pytest
from scipy import special, stats
from spaces import doubles
import torch

from pyro_lvm import LogisticNormal


def test_logistic_normal_of_two_equals_scipys_normal_of_the_log_odds():
    loc, scale, z = doubles(0.3, -0.5), doubles(0.4, 1.1), torch.linspace(0.01, 0.99, 30).double()
    expected = stats.norm(0.8, (0.16 + 1.21) ** 0.5).logpdf(special.logit(z.numpy())) - (z * (1 - z)).log().numpy()
    pair = torch.stack([z, 1 - z], -1)
    torch.testing.assert_close(LogisticNormal(loc, scale).log_prob(pair), torch.as_tensor(expected))
    torch.testing.assert_close(LogisticNormal(loc + 7, scale).log_prob(pair), torch.as_tensor(expected))


def test_logistic_normal_draws_are_the_softmax_of_normal_draws():
    loc, scale, N = doubles(0.3, -0.5, 1.0), doubles(0.4, 1.1, 0.7), 20000
    torch.manual_seed(0)
    log_z = LogisticNormal(loc, scale).sample((N,)).log()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        law = stats.norm((loc[i] - loc[j]).item(), (scale[i] ** 2 + scale[j] ** 2).sqrt().item())
        assert stats.kstest((log_z[:, i] - log_z[:, j]).numpy(), law.cdf).pvalue > 1e-3
    ratios = log_z[:, :2] - log_z[:, 2:]
    assert torch.cov(ratios.T)[0, 1].item() == pytest.approx(0.49, abs=5 * 1.7 * (2 / N) ** 0.5)


def test_logistic_normal_of_five_equals_the_normal_of_its_log_ratios():
    torch.manual_seed(0)
    loc, scale, z = torch.randn(5).double(), torch.rand(5).double() + 0.2, torch.randn(20, 5).double().softmax(-1)
    log_z, covariance = z.log(), (scale[:4] ** 2).diag() + scale[4] ** 2
    ratios = stats.multivariate_normal((loc[:4] - loc[4]).numpy(), covariance.numpy())
    expected = torch.as_tensor(ratios.logpdf((log_z[:, :4] - log_z[:, 4:]).numpy())) - log_z.sum(-1)
    torch.testing.assert_close(LogisticNormal(loc, scale).log_prob(z), expected)


def test_logistic_normal_gradients_are_finite_and_those_of_softmax():
    loc, scale = doubles(0.3, -0.5, 1.0).requires_grad_(), doubles(0.4, 1.1, 0.7).requires_grad_()
    torch.manual_seed(0)
    ours = torch.autograd.grad(LogisticNormal(loc, scale).rsample((9,))[:, 0].sum(), [loc, scale])
    torch.manual_seed(0)
    noise = torch.normal(torch.zeros(9, 3).double(), torch.ones(9, 3).double())
    theirs = torch.autograd.grad((loc + scale * noise).softmax(-1)[:, 0].sum(), [loc, scale])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_logistic_normal_survives_shares_that_underflow():
    fn = LogisticNormal(torch.tensor([0.0, 300.0, 0.0]), torch.ones(3))
    z = fn.rsample((50,))
    assert (z > 0).all() and fn.log_prob(z).isfinite().all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LogisticNormal(torch.ones(3), torch.ones(2)), r"LogisticNormal needs .* got \(3,\) and \(2,\)"),
    ],
)
def test_errors_name_the_remedy(build, message):
    with pytest.raises(ValueError, match=message):
        build()
