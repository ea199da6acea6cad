"""Interpolation between two codes."""

import math

import torch
from torch import Tensor

from pyro_lvm.checks import check_counts


def interpolate(first: Tensor, second: Tensor, num_steps: int) -> Tensor:
    r"""Interpolate between two codes; the direction and the length change evenly from step to step.

    A straight line would pass near the origin, where high-dimensional codes never lie. Codes that are one-dimensional, parallel
    or opposite span no plane to turn in and are joined by a straight line; so are proportions, which must sum to 1 at every step.

    Args:
        first: First code, ``[*Z]``.
        second: Last code, ``[*Z]``.
        num_steps: Number of codes, both ends included, S.

    Returns:
        Codes ``[S, *Z]``.

    Raises:
        ValueError: If ``num_steps`` is below 2.
    """
    check_counts(2, num_steps=num_steps)
    t = torch.linspace(0, 1, num_steps, dtype=first.dtype, device=first.device)[:, None]  # [S, 1]
    a, b = first.flatten(), second.flatten()
    lengths = torch.stack([a.norm(), b.norm()])
    angle = torch.arccos((a @ b / lengths.prod()).clamp(-1, 1))
    if not 1e-3 < float(angle) < math.pi - 1e-3 or (_are_proportions(a) and _are_proportions(b)):
        return torch.lerp(a, b, t).reshape(-1, *first.shape)
    direction = (((1 - t) * angle).sin() * a / lengths[0] + (t * angle).sin() * b / lengths[1]) / angle.sin()
    return (direction * torch.lerp(lengths[0], lengths[1], t)).reshape(-1, *first.shape)


def _are_proportions(z: Tensor) -> bool:
    return bool((z >= 0).all()) and abs(float(z.sum()) - 1) < 1e-5
