"""Products in bfloat16."""

import pytest
import torch
from torch import nn
import torch.nn.functional as F

from inference.tracing.precision import products


@pytest.mark.parametrize("shape", [(7, 20), (3, 7, 20)])
def test_a_product_is_that_of_rounded_factors_and_a_bias_is_kept(shape):
    torch.manual_seed(0)
    layer, x = nn.Linear(20, 5), torch.randn(shape)
    layer.bias.data.fill_(1.00001)  # bfloat16 would make it 1
    with torch.no_grad(), products("bf16"):
        y = layer(x)
    exact = F.linear(x.bfloat16().double(), layer.weight.bfloat16().double())
    torch.testing.assert_close((y - layer.bias).double(), exact, rtol=2**-8, atol=1e-4)
    assert y.dtype == torch.float32 and not torch.equal(y, layer(x))


def test_a_convolution_is_that_of_rounded_factors_and_a_bias_is_kept():
    torch.manual_seed(0)
    layer, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    with torch.no_grad(), products("bf16"):
        y = layer(x)
    exact = F.conv2d(x.bfloat16().double(), layer.weight.bfloat16().double(), layer.bias.double())
    torch.testing.assert_close(y.double(), exact, rtol=2**-7, atol=1e-2)
    assert y.dtype == torch.float32 and not torch.equal(y, layer(x))
