"""Distribution of proportions that torch lacks, with reparameterized draws."""

import math

import pyro.distributions as dist
from pyro.distributions import TorchDistribution, constraints
import torch
from torch import Size, Tensor

from pyro_lvm.distributions import SizeLike


class LogisticNormal(TorchDistribution):
    r"""Logistic-normal distribution of proportions: the softmax of a normal vector.

    .. math:: z = \operatorname{softmax}(y), \quad y \sim \mathcal N(m, \operatorname{diag} s^2)

    Its density is that of :math:`z_1, \dots, z_{D-1}`, as for a Dirichlet distribution. With :math:`u_d = \log z_d - m_d`,
    precisions :math:`w_d = s_d^{-2}` and the precision-weighted mean :math:`\bar u`, integrating over the shift to which softmax is
    invariant gives

    .. math:: p(z) = \frac{e^{-\frac12 \sum_d w_d (u_d - \bar u)^2}}{(2 \pi)^{(D - 1) / 2} \sqrt{\sum_d w_d} \prod_d s_d z_d}

    Args:
        loc: :math:`m`, shape ``[*batch, D]`` with D at least 2; only differences of its entries matter.
        scale: :math:`s`, positive, shape ``[*batch, D]``.

    Raises:
        ValueError: If the shapes disagree, or D is below 2.

    References:
        Aitchison, Shen (1980), Logistic-normal distributions: some properties and uses. https://doi.org/10.1093/biomet/67.2.261
    """

    arg_constraints = {"loc": constraints.real_vector, "scale": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        if loc.dim() < 1 or loc.shape[-1] < 2 or loc.shape != scale.shape:
            raise ValueError(
                "LogisticNormal needs loc and scale [*batch, D], D at least 2; got "
                f"{tuple(loc.shape)} and {tuple(scale.shape)}. Expand them first."
            )
        self.loc, self.scale = loc, scale
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: SizeLike, _instance: TorchDistribution | None = None) -> "LogisticNormal":
        new = self._get_checked_instance(LogisticNormal, _instance)
        new.loc, new.scale = self.loc.expand(*batch_shape, -1), self.scale.expand(*batch_shape, -1)
        super(LogisticNormal, new).__init__(Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_z, precision = value.log(), self.scale**-2  # [*lead, D]
        u, total = log_z - self.loc, precision.sum(-1)
        center = (precision * u).sum(-1) / total  # [*lead]
        squares = (precision * (u - center[..., None]) ** 2).sum(-1)
        constant = (value.shape[-1] - 1) * math.log(2 * math.pi) + total.log()
        return -0.5 * (squares + constant) - (self.scale.log() + log_z).sum(-1)

    def rsample(self, sample_shape: SizeLike = Size()) -> Tensor:
        z = dist.Normal(self.loc, self.scale).rsample(sample_shape).softmax(-1)
        return z.clamp(min=torch.finfo(z.dtype).tiny)  # a proportion that underflows to 0 has no logarithm
