"""Independent Bernoulli variables, as binary images are."""

from functools import cache
import math

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

_LANES = 16  # float32 numbers of the widest vectors
_MOST_FACTORS = 120  # of numbers up to 2, whose product float32 still holds


class IndependentBernoulli(dist.Independent):
    r"""Independent Bernoulli variables as one event, given by their logits :math:`l`.

    .. math:: \log p(x) = \sum_i \big(x_i l_i - \max(l_i, 0)\big) - \log \prod_i \big(1 + e^{-|l_i|}\big)

    The density takes one logarithm for many variables, since logarithms would be most of its time; but in an eager step, where every
    operation costs as much as the logarithms of a small batch, it is torch's own.

    Args:
        base_distribution: A Bernoulli distribution with batch shape ``[*lead, *X]``.
        reinterpreted_batch_ndims: The number of dimensions of X.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        logits = self.base_dist.logits
        if torch.is_grad_enabled() and logits.requires_grad and get_proxy_mode() is None:
            return super().log_prob(value)
        if self._validate_args:
            self._validate_sample(value)
        value, logits = torch.broadcast_tensors(value.to(logits.dtype), logits)
        start = -self.reinterpreted_batch_ndims
        return _BernoulliLogProb.apply(value.flatten(start), logits.flatten(start))  # [*lead]


class _BernoulliLogProb(torch.autograd.Function):
    """Density ``[*lead]`` of values ``[*lead, D]`` with logits of the same shape; autograd's gradient would divide products by factors."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, logits: Tensor) -> Tensor:
        lanes = _num_products(logits.shape[-1])
        # Compiled, a power of two takes less time than one of e.
        products = logits.abs().mul_(-math.log2(math.e)).exp2_().add_(1.0).unflatten(-1, (-1, lanes)).prod(-2)  # [*lead, G]
        sums = (value * logits).sub_(logits.relu()).unflatten(-1, (-1, lanes)).sum(-2)  # [*lead, G]
        return (sums - products.log()).sum(-1)

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        value, logits = ctx.saved_tensors
        of_value = gradient[..., None] * logits if ctx.needs_input_grad[0] else None
        return of_value, gradient[..., None] * (value - logits.sigmoid())


@cache
def _num_products(total: int) -> int:
    """The fewest products of equally many factors, whole vectors of the processor if they can be."""
    parts = [n for n in range(1, total + 1) if total % n == 0 and total // n <= _MOST_FACTORS]
    return min(parts, key=lambda n: (n % _LANES > 0, n))
