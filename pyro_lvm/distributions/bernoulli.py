"""Independent Bernoulli variables, such as the pixels of a binary image."""

from functools import cache
import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from pyro_lvm.distributions.special import at_least_float32

_LANES = 16  # float32 numbers in the widest vector registers
_MOST_FACTORS = 120  # factors of at most 2, whose product does not overflow float32


class IndependentBernoulli(dist.Independent):
    r"""Independent Bernoulli variables as one event, given by their logits :math:`l`.

    .. math:: \log p(x) = \sum_i \big(x_i l_i - \max(l_i, 0)\big) - \log \prod_i \big(1 + e^{-|l_i|}\big)

    The density takes one logarithm for many variables, because logarithms would take most of its time. In an eager step, where every
    operation costs as much as the logarithms of a small batch, torch's own density is used. For logits in half precision, the density is
    computed in float32.

    Args:
        base_distribution: A Bernoulli distribution with batch shape ``[*lead, *X]``.
        reinterpreted_batch_ndims: The number of dimensions of X.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        logits = self.base_dist.logits
        if logits is not (precise := at_least_float32(logits)):
            base = dist.Bernoulli(logits=precise, validate_args=False)
            return IndependentBernoulli(base, self.reinterpreted_batch_ndims, validate_args=self._validate_args).log_prob(value.float())
        if torch.is_grad_enabled() and logits.requires_grad and get_proxy_mode() is None:
            return super().log_prob(value)
        if self._validate_args:
            self._validate_sample(value)
        value, logits = torch.broadcast_tensors(value.to(logits.dtype), logits)
        start = -self.reinterpreted_batch_ndims
        return _BernoulliLogProb.apply(value.flatten(start), logits.flatten(start))  # [*lead]


class _BernoulliLogProb(torch.autograd.Function):
    """Log density ``[*lead]`` of values ``[*lead, D]`` with logits of the same shape.

    It has its own gradient because autograd's would divide products by their factors.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, logits: Tensor) -> Tensor:
        lanes = _num_products(logits.shape[-1])
        # In compiled code, a power of two takes less time than a power of e.
        products = logits.abs().mul_(-math.log2(math.e)).exp2_().add_(1.0).unflatten(-1, (-1, lanes)).prod(-2)  # [*lead, G]
        sums = (value * logits).sub_(logits.relu()).unflatten(-1, (-1, lanes)).sum(-2)  # [*lead, G]
        return (sums - products.log()).sum(-1)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        value, logits = ctx.saved_tensors
        of_value = gradient[..., None] * logits if ctx.needs_input_grad[0] else None
        return of_value, gradient[..., None] * (value - logits.sigmoid())


@cache
def _num_products(total: int) -> int:
    """Return the smallest number of products with equally many factors, preferably one that fills whole vector registers."""
    parts = [n for n in range(1, total + 1) if total % n == 0 and total // n <= _MOST_FACTORS]
    return min(parts, key=lambda n: (n % _LANES > 0, n))
