"""Matrix products in a lower precision than all other operations."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

Precision = Literal["full", "bf16"]
PRECISIONS = ("full", "bf16")
aten = torch.ops.aten
_PRODUCTS = {aten.mm.default, aten.bmm.default, aten.addmm.default, aten.convolution.default}


class _BFloat16Products(TorchDispatchMode):
    """Mode that rounds the factors of float32 products to bfloat16; sums, activations, densities and their inputs stay float32.

    On processors with instructions for it, such a product takes half the time of a float32 one or less.
    """

    def __torch_dispatch__(self, op: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        kwargs = kwargs or {}
        tensors = [value for value in tree_leaves(args) if isinstance(value, Tensor)]
        if op not in _PRODUCTS or kwargs or any(tensor.dtype != torch.float32 for tensor in tensors):
            return op(*args, **kwargs)
        if op is aten.addmm.default:
            bias, *factors = args
            return bias + _rounded(aten.mm.default, factors)
        if op is aten.convolution.default and args[2] is not None:
            image, weight, bias, *rest = args
            return bias.reshape(-1, *[1] * (weight.dim() - 2)) + _rounded(op, (image, weight, None, *rest))
        return _rounded(op, args)


def _rounded(op: Callable, factors: Sequence) -> Tensor:
    return op(*tree_map_only(Tensor, Tensor.bfloat16, tuple(factors))).float()


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device has instructions for bfloat16; a CPU without them takes fifty times as long as for float32."""
    return device.type != "cpu" or (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def products(precision: Precision) -> AbstractContextManager:
    """Return a context in which float32 matrix products and convolutions have this precision."""
    return _BFloat16Products() if precision == "bf16" else nullcontext()
