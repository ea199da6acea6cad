"""Student's t distribution, accurate in float32 for any number of degrees of freedom."""

from __future__ import annotations

import math

from pyro import distributions as dist
import torch
from torch import Tensor

from pyro_lvm.distributions.special import log_gamma_ratio, unexpanded


class StudentT(dist.StudentT):
    r"""Student's t distribution, accurate for any number of degrees of freedom :math:`\nu`.

    .. math::
        \log p(x) = -\tfrac{\nu + 1}{2} \log\left(1 + \tfrac{1}{\nu} \left(\tfrac{x - \mu}{s}\right)^2\right)
            - \log s - \tfrac{1}{2} \log (\pi \nu)
            + \log \Gamma(\tfrac{\nu + 1}{2}) - \log \Gamma(\tfrac{\nu}{2})

    Args:
        df: Degrees of freedom :math:`\nu > 0`.
        loc: Location :math:`\mu`.
        scale: Scale :math:`s > 0`.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        df, scale = unexpanded(self.df), unexpanded(self.scale)
        squared = ((value - self.loc) / scale).square()
        log_gammas = log_gamma_ratio(0.5 * df, torch.full_like(df, 0.5))
        log_normalizer = scale.log() + 0.5 * (math.pi * df).log() - log_gammas
        return -0.5 * (df + 1.0) * torch.log1p(squared / df) - log_normalizer
