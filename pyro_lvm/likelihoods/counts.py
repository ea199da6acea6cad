"""Likelihoods of counts."""

from __future__ import annotations

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_lvm.distributions.counts import LogRatePoisson, NegativeBinomial
from pyro_lvm.likelihoods.likelihood import Likelihood, Positive


class PoissonLikelihood(Likelihood):
    r"""Poisson likelihood of counts.

    .. math:: p(x_i \mid z) = \lambda_i^{x_i} e^{-\lambda_i} / x_i!

    Args:
        network: Maps latents ``[*lead, D]`` to log rates :math:`\log \lambda`, ``[*lead, *X]``.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.
    """

    def elements(self, params: Tensor) -> TorchDistribution:
        return LogRatePoisson(params)


class NegativeBinomialLikelihood(Likelihood):
    r"""Negative binomial likelihood of counts whose variance exceeds their mean.

    With mean :math:`\mu` and dispersion :math:`\alpha`, the variance is :math:`\mu + \alpha \mu^2`; as
    :math:`\alpha \to 0` this is a Poisson distribution. With :math:`r = 1 / \alpha`,

    .. math::
        p(x_i \mid z) = \frac{\Gamma(x_i + r_i)}{\Gamma(r_i) \, x_i!}
            \left(\frac{r_i}{r_i + \mu_i}\right)^{r_i} \left(\frac{\mu_i}{r_i + \mu_i}\right)^{x_i}

    Args:
        network: Maps latents ``[*lead, D]`` to log means :math:`\log \mu`, ``[*lead, *X]``.
        dispersion: :math:`\alpha`, one number or a tensor ``[*X]``.
        learn_dispersion: Whether the dispersion is learned, one parameter per entry initialized at ``dispersion``, or fixed.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.

    Raises:
        ValueError: If the dispersion is not positive or its shape does not fit.
    """

    def __init__(self, network: nn.Module, *, dispersion: float | Tensor = 1.0, learn_dispersion: bool = False) -> None:
        super().__init__(network)
        self.dispersion = Positive(dispersion, learn=learn_dispersion, name="dispersion")

    def elements(self, params: Tensor) -> TorchDistribution:
        total_count = 1.0 / self.dispersion(params)
        return NegativeBinomial(total_count, logits=params - total_count.log())
