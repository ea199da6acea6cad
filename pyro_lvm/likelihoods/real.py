"""Likelihoods of real data."""

from __future__ import annotations

from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_lvm.distributions.student_t import StudentT
from pyro_lvm.likelihoods.likelihood import Likelihood, Positive


class GaussianLikelihood(Likelihood):
    r"""Gaussian likelihood of real data.

    .. math:: p(x_i \mid z) = \mathcal{N}(x_i \mid \mu_i, s_i^2)

    Args:
        network: Maps latents ``[*lead, D]`` to means :math:`\mu`, ``[*lead, *X]``.
        scale: Standard deviation :math:`s`, one number or a tensor ``[*X]``.
        learn_scale: Whether the scale is learned, one parameter per entry initialized at ``scale``, or fixed.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.

    Raises:
        ValueError: If the scale is not positive or its shape does not fit.
    """

    def __init__(self, network: nn.Module, *, scale: float | Tensor = 1.0, learn_scale: bool = False) -> None:
        super().__init__(network)
        self.scale = Positive(scale, learn=learn_scale, name="scale")

    def elements(self, params: Tensor) -> TorchDistribution:
        return dist.Normal(params, self.scale(params))


class StudentTLikelihood(Likelihood):
    r"""Student t likelihood of real data with outliers.

    .. math::
        p(x_i \mid z) = \frac{\Gamma(\frac{\nu_i + 1}{2})}{\Gamma(\frac{\nu_i}{2}) \sqrt{\pi \nu_i} \, s_i}
            \left(1 + \frac{(x_i - \mu_i)^2}{\nu_i s_i^2}\right)^{-(\nu_i + 1) / 2}

    Args:
        network: Maps latents ``[*lead, D]`` to locations :math:`\mu`, ``[*lead, *X]``.
        df: Degrees of freedom :math:`\nu`, one number or a tensor ``[*X]``.
        scale: :math:`s`, one number or a tensor ``[*X]``; not the standard deviation.
        learn_df: Whether the degrees of freedom are learned, one parameter per entry initialized at ``df``, or fixed.
        learn_scale: Whether the scale is learned, one parameter per entry initialized at ``scale``, or fixed.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.

    Raises:
        ValueError: If a parameter is not positive or its shape does not fit.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        df: float | Tensor = 4.0,
        scale: float | Tensor = 1.0,
        learn_df: bool = False,
        learn_scale: bool = False,
    ) -> None:
        super().__init__(network)
        self.df = Positive(df, learn=learn_df, name="df")
        self.scale = Positive(scale, learn=learn_scale, name="scale")

    def elements(self, params: Tensor) -> TorchDistribution:
        return StudentT(self.df(params), params, self.scale(params))
