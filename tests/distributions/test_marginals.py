"""Marginals of distributions against mixtures and normals of one dimension."""

from oracles import LinearGaussian
import pyro.distributions as dist
import torch

from pyro_lvm import DiagNormalMixture
from pyro_lvm.distributions.normal_mixture import marginals

D = 3
Z = torch.randn(17, D, generator=torch.Generator().manual_seed(1)).double() * 2


def test_marginals_of_distributions():
    generator = torch.Generator().manual_seed(0)
    logits, loc, scale = (torch.rand(4, *shape, generator=generator).double() + 0.1 for shape in ((), (D,), (D,)))
    got = marginals(DiagNormalMixture(logits, loc, scale).expand((17,))).log_prob(Z)  # [M, D]
    for d in range(D):
        expected = DiagNormalMixture(logits, loc[:, d : d + 1], scale[:, d : d + 1]).log_prob(Z[:, d : d + 1])
        torch.testing.assert_close(got[:, d], expected, rtol=1e-10, atol=1e-12)
    full = LinearGaussian(latent_dim=D).posterior(torch.zeros(2, 5).double())
    torch.testing.assert_close(marginals(full).scale ** 2, full.covariance_matrix.diagonal(dim1=-2, dim2=-1))
    assert marginals(dist.Normal(Z, 1.0).to_event(1)).batch_shape == Z.shape
    assert marginals(dist.Gamma(1.0, 1.0)).event_shape == ()
    assert marginals(dist.OneHotCategorical(logits=torch.zeros(2, 3))) is None
    assert marginals(dist.OneHotCategorical(logits=torch.zeros(2, 3)).to_event(1)) is None
