"""Whether two computations of the same step agree, except for rounding."""

from torch import Tensor
import torch

# Largest differences, relative to the norm of a tensor and to that of larger terms that enter it.
_TOLERANCES = {torch.float32: (1e-4, 1e-6), torch.float16: (2e-2, 2e-3), torch.bfloat16: (2e-2, 2e-3)}
_EXACT = (1e-8, 1e-12)


def agree(got: Tensor, wanted: Tensor, scale: float = 0.0) -> bool:
    """Return whether two tensors are equal, except for rounding relative to their norm or to the norm of larger terms, ``scale``."""
    return _agree(got.double(), wanted.double(), scale, wanted.dtype)


def agree_on_update(got: Tensor, wanted: Tensor, before: Tensor) -> bool:
    """Return whether two values of a tensor after an update agree, given its value before."""
    start = before.double()
    return _agree(got.double() - start, wanted.double() - start, float(start.norm()), wanted.dtype)


def _agree(got: Tensor, wanted: Tensor, scale: float, dtype: torch.dtype) -> bool:
    relative, absolute = _TOLERANCES.get(dtype, _EXACT)
    if not wanted.isfinite().all():
        return torch.equal(got.isfinite(), wanted.isfinite())
    return bool((got - wanted).norm() <= relative * wanted.norm() + absolute * scale)


def described(tensor: Tensor) -> str:
    """Return the number in a tensor of one element, or the norm of a larger one."""
    return f"{tensor.item():.6g}" if tensor.numel() == 1 else f"of norm {tensor.double().norm():.6g}"
