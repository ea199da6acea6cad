"""Encoders that are not normal: densities against scipy and quadrature, draws and gradients."""

import math

import pytest
from scipy import special, stats
from spaces import doubles
import torch
from torch import nn

from pyro_lvm import DirichletEncoder, LaplaceEncoder, LogisticNormalEncoder, PowerSphericalEncoder, StudentTEncoder


def constant(*features):
    network = nn.Linear(1, len(features)).double()
    nn.init.zeros_(network.weight)
    network.bias.data = doubles(*features)
    return network


def test_encoders_equal_scipy():
    x, z = torch.ones(1, 1).double(), torch.randn(50, 2).double()
    loc, scale = doubles(0.2, -1.0), doubles(0.3, -0.4).exp()
    features = constant(0.2, -1.0, 0.3, -0.4)
    for encoder, law in ((LaplaceEncoder(features), stats.laplace), (StudentTEncoder(features, df=2.5), stats.t(2.5))):
        expected = torch.as_tensor(law.logpdf(((z - loc) / scale).numpy())) - scale.log()
        torch.testing.assert_close(encoder(x).log_prob(z), expected.sum(-1))
    shares = torch.randn(50, 3).double().softmax(-1)
    expected = torch.tensor([stats.dirichlet([math.e, 1.0, 2.0]).logpdf(row) for row in shares.numpy()])
    encoder = DirichletEncoder(constant(1.0, 0.0, math.log(2)))
    torch.testing.assert_close(encoder(x).log_prob(shares), expected)
    encoder = LogisticNormalEncoder(constant(0.2, -1.0, 0.3, -0.4))
    shares = z.softmax(-1)
    law = stats.norm(1.2, (scale**2).sum().sqrt().item())
    expected = torch.as_tensor(law.logpdf(special.logit(shares[:, 0].numpy()))) - shares.log().sum(-1)
    torch.testing.assert_close(encoder(x).log_prob(shares), expected)
    fn = PowerSphericalEncoder(constant(3.0, 4.0, math.log(5)))(x)
    torch.testing.assert_close(fn.loc, doubles(0.6, 0.8)[None])
    torch.testing.assert_close(fn.concentration, doubles(5.0))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: StudentTEncoder(nn.Linear(2, 4), df=math.nan), "df must be positive and finite; got nan"),
        (lambda: LaplaceEncoder(nn.Linear(2, 3))(torch.ones(5, 2)), r"2 \* D features, mean and log scale; got 3"),
    ],
)
def test_errors_name_the_remedy(build, message):
    with pytest.raises(ValueError, match=message):
        build()
