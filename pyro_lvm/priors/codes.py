"""Priors of discrete codes: modules whose call returns a distribution with batch shape [] and event shape S, the shape of the slots."""

from collections.abc import Sequence

import torch
from torch import Size, Tensor, nn

from pyro_lvm.checks import check_counts
from pyro_lvm.distributions.codes import CategoricalCodes, UniformCodes


class CodePrior(nn.Module):
    """Base class of priors of codes 0..V - 1 in slots of shape S.

    Raises:
        ValueError: If there is no slot dimension, a size is below 1, or there are fewer than two codes.
    """

    def __init__(self, shape: Sequence[int], num_codes: int) -> None:
        super().__init__()
        self.shape, self.num_codes = Size(shape), num_codes
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape must hold one positive size or more; got {tuple(shape)}. Give a single slot the shape (1,).")
        check_counts(2, num_codes=num_codes)


class UniformCodePrior(CodePrior):
    r"""Uniform prior of codes in independent slots.

    .. math:: \log p(z) = -M \log V

    Args:
        shape: Shape of the slots, :math:`S`.
        num_codes: Number of codes, :math:`V`.

    Raises:
        ValueError: If there is no slot dimension, a size is below 1, or there are fewer than two codes.
    """

    zero: Tensor

    def __init__(self, shape: Sequence[int], num_codes: int) -> None:
        super().__init__(shape, num_codes)
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # has the dtype and device of the module

    def forward(self) -> UniformCodes:
        return UniformCodes(self.shape, self.num_codes, dtype=self.zero.dtype, device=self.zero.device)


class CategoricalCodePrior(CodePrior):
    r"""Prior of independent slots, each with learned frequencies of the codes, which are initialized as uniform.

    .. math:: p(z) = \prod_{m=1}^M \operatorname{softmax}(l_m)_{z_m}

    Args:
        shape: Shape of the slots, :math:`S`.
        num_codes: Number of codes, :math:`V`.

    Raises:
        ValueError: If there is no slot dimension, a size is below 1, or there are fewer than two codes.
    """

    def __init__(self, shape: Sequence[int], num_codes: int) -> None:
        super().__init__(shape, num_codes)
        self.logits = nn.Parameter(torch.zeros(*self.shape, num_codes))

    def forward(self) -> CategoricalCodes:
        return CategoricalCodes(self.logits, len(self.shape))
