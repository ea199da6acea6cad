"""Mixtures of normals against torch.distributions: densities, gradients, draws, memory."""

import pyro.distributions as dist
import pytest
import torch

from pyro_lvm.distributions import normal_mixture
from pyro_lvm.distributions.normal_mixture import DiagNormalMixture, FullNormalMixture, mixture

C = 5


def random_mixture(scale, dtype=torch.float64, center=0.0):
    torch.manual_seed(1)
    logits, loc = torch.randn(C, dtype=dtype), center + torch.randn(C, 3, dtype=dtype)
    return logits, loc, scale * (0.5 + torch.rand(C, 3, dtype=dtype))


def reference_mixture(logits, loc, scale):
    components = torch.distributions.Independent(torch.distributions.Normal(loc.double(), scale.double()), 1)
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=logits.double()), components)


@pytest.mark.parametrize("scale", [0.001, 0.01, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("center", [0.0, 1e3])
def test_matrix_form_loses_no_digits(scale, dtype, center):
    parameters = random_mixture(scale, dtype, center)
    reference = reference_mixture(*parameters)
    near = reference.sample((100,))
    z = torch.cat([near, near + scale, near + 1]).to(dtype)
    log_prob = DiagNormalMixture(*parameters).log_prob(z)
    assert log_prob.dtype == dtype
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-9}[dtype]
    assert torch.allclose(log_prob.double(), reference.log_prob(z.double()), rtol=tolerance, atol=tolerance)


def test_matrix_form_has_the_gradients_of_the_reference():
    parameters = [t.requires_grad_() for t in random_mixture(0.1)]
    z = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    ours = torch.autograd.grad(DiagNormalMixture(*parameters).log_prob(z).sum(), [z, *parameters])
    theirs = torch.autograd.grad(reference_mixture(*parameters).log_prob(z).sum(), [z, *parameters])
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


def test_mixture_density_never_holds_an_array_of_components_by_features():
    logits, loc, scale = random_mixture(1.0)
    saved = saved_tensors(mixture(logits, dist.Normal(loc, scale).to_event(1)), torch.randn(1000, 3))
    assert max(t.numel() for t in saved) <= 1000 * (2 * 3 + 1) < 1000 * C * 3


def saved_tensors(distribution, z):
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        distribution.log_prob(z.requires_grad_())
    return saved


def random_full_mixture(scale, dtype=torch.float64, center=0.0):
    logits, loc, diagonal = random_mixture(scale, dtype, center)
    below = scale * torch.randn(C, 3, 3, dtype=dtype).tril(-1)
    return logits, loc, diagonal.diag_embed() + below


def reference_full_mixture(logits, loc, scale_tril):
    components = torch.distributions.MultivariateNormal(loc.double(), scale_tril=scale_tril.double())
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=logits.double()), components)


@pytest.mark.parametrize("chunk", [1, 2**22])
@pytest.mark.parametrize("scale", [0.001, 0.1, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("center", [0.0, 1e3])
def test_whitening_loses_no_digits(scale, dtype, center, chunk, monkeypatch):
    monkeypatch.setattr(normal_mixture, "_CHUNK_NUMEL", chunk)
    parameters = random_full_mixture(scale, dtype, center)
    reference = reference_full_mixture(*parameters)
    near = reference.sample((2, 50))
    z = torch.cat([near, near + scale, near + 1]).to(dtype)
    log_prob = FullNormalMixture(*parameters).log_prob(z)
    assert log_prob.dtype == dtype and log_prob.shape == (6, 50)
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-9}[dtype]
    assert torch.allclose(log_prob.double(), reference.log_prob(z.double()), rtol=tolerance, atol=tolerance)


def test_whitening_has_the_gradients_of_the_reference():
    parameters = [t.requires_grad_() for t in random_full_mixture(0.1)]
    z = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    ours = torch.autograd.grad(FullNormalMixture(*parameters).log_prob(z).sum(), [z, *parameters])
    theirs = torch.autograd.grad(reference_full_mixture(*parameters).log_prob(z).sum(), [z, *parameters])
    for a, b in zip(ours, (*theirs[:3], theirs[3].tril()), strict=True):
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-8)


def test_draws_of_full_components_have_their_covariance():
    p, reference = FullNormalMixture(*random_full_mixture(1.0)), reference_full_mixture(*random_full_mixture(1.0))
    draws = p.expand((4,)).sample((10000,)).flatten(0, 1)
    weight, loc = p.logits.softmax(0), p.loc - reference.mean
    covariance = torch.einsum("c,cij->ij", weight, p.scale_tril @ p.scale_tril.mT + loc[:, :, None] * loc[:, None])
    products = (draws - p.mean)[:, :, None] * (draws - p.mean)[:, None]
    assert ((products.mean(0) - covariance).abs() < 5 * products.std(0) / 200).all()


def test_full_mixture_density_never_holds_a_matrix_for_each_datum():
    saved = saved_tensors(mixture(torch.zeros(C), dist.MultivariateNormal(torch.randn(C, 8), torch.eye(8))), torch.randn(1000, 8))
    assert max(t.numel() for t in saved) <= 1000 * C * 8


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: FullNormalMixture(*map(torch.zeros, (2, (2, 3), (2, 3)))), ValueError, r"scale_tril \[C, D, D\]; got"),
        (lambda: DiagNormalMixture(*map(torch.zeros, (2, (3, 2), (3, 2)))), ValueError, "Expand them"),
        (lambda: mixture(torch.zeros(2), dist.Normal(torch.zeros(2), 1)), ValueError, r"Use \.to_event\(1\)"),
    ],
)
def test_errors_name_the_remedy(build, error, message):
    with pytest.raises(error, match=message):
        build()
