"""Independent Bernoulli variables in product form: torch's densities and gradients, and further derivatives."""

import pyro
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_lvm.distributions.bernoulli import IndependentBernoulli, _BernoulliLogProb


def independent_bernoulli(logits, num_dims):
    return IndependentBernoulli(pyro.distributions.Bernoulli(logits=logits, validate_args=False), num_dims)


@pytest.mark.parametrize("is_traced", [False, True])
@pytest.mark.parametrize("shape", [(784,), (3, 28), (131,), (2000,), (7,)])
def test_bernoulli_log_prob_and_its_gradient_are_torchs(shape, is_traced):
    """Numbers of variables that vectors hold, others and primes; logits up to 1000; values broadcast over particles; eager and traced."""
    scale = torch.logspace(-6, 3, 5, dtype=torch.float64).reshape(5, 1, *[1] * len(shape))
    logits = scale * torch.randn(5, 2, *shape, dtype=torch.float64)
    x, weights = torch.rand(2, *shape, dtype=torch.float64).round(), torch.randn(5, 2, dtype=torch.float64)

    def with_gradient(distribution):
        def function(logits, x):
            logits = logits.detach().requires_grad_()
            log_px = distribution(logits).log_prob(x)
            return log_px.detach(), *torch.autograd.grad((weights.to(log_px) * log_px).sum(), logits)

        return function

    def of_torch(logits):
        return torch.distributions.Independent(torch.distributions.Bernoulli(logits=logits, validate_args=False), len(shape))

    expected = with_gradient(of_torch)(logits, x)
    with pyro.validation_enabled(False):
        own = with_gradient(lambda logits: independent_bernoulli(logits, len(shape)))
        for dtype, rtol, atol in ((torch.float64, 1e-12, 1e-12), (torch.float32, 1e-5, 1e-4)):
            inputs = logits.to(dtype), x.to(dtype)
            got = (make_fx(own)(*inputs) if is_traced else own)(*inputs)
            torch.testing.assert_close([value.double() for value in got], list(expected), rtol=rtol, atol=atol)
        torch.testing.assert_close(independent_bernoulli(logits, len(shape)).log_prob(x), expected[0], rtol=1e-12, atol=1e-12)


def test_derivatives_and_vmap_of_the_product_form():
    x = torch.rand(3, 6, dtype=torch.float64, requires_grad=True)
    logits = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    density = _BernoulliLogProb.apply
    assert torch.autograd.gradcheck(density, (x, logits)) and torch.autograd.gradgradcheck(density, (x, logits))
    mapped = torch.func.vmap(torch.func.grad(lambda row, x: density(x, row)), in_dims=(0, None))(logits, x[0])
    torch.testing.assert_close(mapped, x[0] - logits.sigmoid())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("is_trained", [False, True])
def test_half_precision_neither_overflows_nor_loses_digits(is_trained, dtype):
    logits = torch.randn(3, 784).to(dtype).requires_grad_(is_trained)
    x = torch.rand(3, 784).round().to(dtype)
    expected = independent_bernoulli(logits.detach().double(), 1).log_prob(x.double())
    got = independent_bernoulli(logits, 1).log_prob(x)
    torch.testing.assert_close(got.double(), expected, rtol=1e-6, atol=0)
    if is_trained:
        got.sum().backward()
        torch.testing.assert_close(logits.grad, x - logits.detach().sigmoid(), rtol=1e-2, atol=1e-2)
