"""Guide of discrete codes without a codebook: every feature of a vector is rounded to one of a few levels."""

from collections.abc import Sequence
import math

import torch
from torch import Tensor, nn

from pyro_lvm.encoders.gradients import PassGradient, straight_through
from pyro_lvm.encoders.quantizer import Quantizer


class FSQ(Quantizer):
    r"""Finite scalar quantization: every feature is rounded to one of a few levels, and no codebook is learned.

    .. math:: f(h)_i = \tfrac{(1 + 10^{-3}) (L_i - 1)}{2} \tanh(h_i + s_i) - o_i, \qquad
        e_i = \operatorname{round}(f(h)_i) / \lfloor L_i / 2 \rfloor

    where :math:`o_i` is one half for an even number of levels and zero for an odd one, and :math:`s_i` is such that :math:`f(0) = 0`. The
    code is the number whose digits are the levels; the first feature gives the lowest digit.

    Args:
        network: Module that maps ``[*lead, *X]`` to a grid of vectors with one feature for each entry of ``levels``.
        levels: Number of levels :math:`L_i` of each feature, such as ``(8, 5, 5, 5)`` for 1000 codes.
        out_shape, pass_gradient: As for :class:`Quantizer`.

    Returns:
        On call with data: a point mass on codes, int64, with batch shape ``[*lead]`` and event shape ``[*S]``.

    Raises:
        ValueError: If a number of levels is below 2, vectors do not have one feature for each, or (on call) the network's
            output has the wrong shape.

    References:
        Mentzer et al. (2024), Finite Scalar Quantization: VQ-VAE Made Simple. https://arxiv.org/abs/2309.15505
    """

    reach: Tensor
    offset: Tensor
    shift: Tensor
    steps: Tensor
    place: Tensor
    top: Tensor
    codes: Tensor

    def __init__(
        self,
        network: nn.Module,
        levels: Sequence[int],
        *,
        out_shape: Sequence[int] | None = None,
        pass_gradient: PassGradient = straight_through,
    ) -> None:
        if not levels or min(levels) < 2:
            raise ValueError(f"levels must hold numbers of at least 2; got {tuple(levels)}. A single level carries no information.")
        super().__init__(network, math.prod(levels), out_shape=out_shape, commitment=0.0, pass_gradient=pass_gradient)
        if self.out_shape[-1] != len(levels):
            raise ValueError(
                f"network must return vectors of {len(levels)} features, one for each entry of levels; got {self.out_shape[-1]}. "
                "Change its last layer."
            )
        self.levels = tuple(levels)
        sizes = torch.tensor(self.levels)
        half = (sizes - 1) * 1.001 / 2
        offset = torch.where(sizes % 2 == 0, 0.5, 0.0)
        place = torch.cat([sizes.new_ones(1), sizes[:-1].cumprod(0)])
        digits = torch.arange(self.num_codes)[:, None] // place % sizes  # [V, d]
        buffers = {"reach": half, "offset": offset, "shift": (offset / half).atanh(), "steps": sizes // 2, "place": place, "top": sizes - 1}
        for name, value in (buffers | {"codes": ((digits - sizes // 2) / (sizes // 2))[None]}).items():
            self.register_buffer(name, value, persistent=False)

    @property
    def codebook(self) -> Tensor:
        return self.codes

    def features(self, x: Tensor) -> Tensor:
        return (((super().features(x) + self.shift).tanh() * self.reach) - self.offset) / self.steps

    def nearest(self, features: Tensor) -> Tensor:
        digits = (features * self.steps).round().long() + self.steps
        return (digits.clamp(torch.zeros_like(self.place), self.top) * self.place).sum(-1)  # the clamp gives a digit even to NaN
