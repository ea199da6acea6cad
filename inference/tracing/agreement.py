"""Whether two computations of the same step agree, except for rounding."""

import torch
from torch import Tensor

# Largest differences, relative to the norm of a tensor and to that of larger terms that enter it. In float32, over 60 epochs of 40 pairs
# and for networks of 784-300-300-40, rounding reached 6e-7 for losses, 8e-5 and 8e-6 for gradients, and 2e-4 and 4e-7 for updates.
_TOLERANCES = {torch.float32: (1e-4, 1e-5), torch.float16: (2e-2, 2e-3), torch.bfloat16: (2e-2, 2e-3)}
_EXACT = (1e-8, 1e-10)


def agree(got: Tensor, wanted: Tensor, scale: float = 0.0) -> bool:
    """Return whether two tensors are equal, except for rounding relative to their norm or to the norm of larger terms, ``scale``."""
    relative, absolute = _TOLERANCES.get(wanted.dtype, _EXACT)
    return _agree(got.double(), wanted.double(), relative, absolute * scale)


def agree_on_loss(got: Tensor, wanted: Tensor) -> bool:
    """Return whether two losses in nats are equal, except for rounding; terms of some nats may cancel in them."""
    _, absolute = _TOLERANCES.get(wanted.dtype, _EXACT)
    return _agree(got.double(), wanted.double(), absolute, 10 * absolute)


def agree_on_update(got: Tensor, wanted: Tensor, before: Tensor) -> bool:
    """Return whether two values of a tensor after an update agree, given its value before."""
    start, (relative, absolute) = before.double(), _TOLERANCES.get(wanted.dtype, _EXACT)
    return _agree(got.double() - start, wanted.double() - start, relative, float(absolute / 10 * start.norm()))


def _agree(got: Tensor, wanted: Tensor, relative: float, absolute: float) -> bool:
    if not wanted.isfinite().all():
        return torch.equal(got.isfinite(), wanted.isfinite())
    return bool((got - wanted).norm() <= relative * wanted.norm() + absolute)


def described(tensor: Tensor) -> str:
    """Return the number in a tensor of one element, or the norm of a larger one."""
    return f"{tensor.item():.6g}" if tensor.numel() == 1 else f"of norm {tensor.double().norm():.6g}"
