"""Likelihoods of counts."""

from __future__ import annotations

from pyro.distributions import TorchDistribution
import torch
from torch import Tensor, nn

from pyro_lvm.distributions.counts import LogRatePoisson, Multinomial, NegativeBinomial, NegativeMultinomial, ZeroInflated
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


class ZeroInflatedNegativeBinomialLikelihood(NegativeBinomialLikelihood):
    r"""Negative binomial likelihood of counts of which some are 0 for another reason, such as those that were not recorded.

    .. math:: p(x_i \mid z) = \pi_i [x_i = 0] + (1 - \pi_i)\, \mathrm{NB}(x_i \mid \mu_i(z), \alpha_i)

    Args:
        network: Maps latents ``[*lead, D]`` to log means :math:`\log \mu` of the counts that are not set to 0, ``[*lead, *X]``.
        dispersion: :math:`\alpha`, one number or a tensor ``[*X]``.
        learn_dispersion: Whether the dispersion is learned, one parameter per entry initialized at ``dispersion``, or fixed.
        gate: :math:`\pi`, the share that is set to 0, one number or a tensor ``[*X]``.
        learn_gate: Whether the share is learned, through its logit, one parameter per entry initialized at ``gate``, or fixed.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.

    Raises:
        ValueError: If the dispersion is not positive, the share not between 0 and 1, or a shape does not fit.

    References:
        Lopez, Regier, Cole, Jordan, Yosef (2018), Deep generative modeling for single-cell transcriptomics. Nature Methods 15.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        dispersion: float | Tensor = 1.0,
        learn_dispersion: bool = False,
        gate: float | Tensor = 0.1,
        learn_gate: bool = False,
    ) -> None:
        super().__init__(network, dispersion=dispersion, learn_dispersion=learn_dispersion)
        share = torch.as_tensor(gate, dtype=None if torch.is_tensor(gate) else torch.get_default_dtype())
        if not ((share > 0) & (share < 1)).all():
            raise ValueError(f"gate must be between 0 and 1; got {gate}. Give the share of counts that are set to 0, not its logit.")
        self.odds = Positive(share / (1 - share), learn=learn_gate, name="gate")

    @property
    def gate(self) -> Tensor:
        """The share of counts that are set to 0, ``[]`` or ``[*X]``."""
        odds = torch.as_tensor(self.odds.value)
        return odds / (1 + odds)

    def elements(self, params: Tensor) -> TorchDistribution:
        return ZeroInflated(super().elements(params), self.odds(params).log())


class MultinomialLikelihood(Likelihood):
    r"""Multinomial likelihood of the counts of a row, with a negative binomial one of their total.

    .. math:: p(x \mid z) = \mathrm{NB}(n \mid \Lambda(z), \alpha)\, \mathrm{Multinomial}\big(x \mid n, \lambda(z) / \Lambda(z)\big),
        \quad n = \sum_i x_i, \quad \Lambda = \sum_i \lambda_i

    That is a mass function of x, as those of the other likelihoods of counts are. With a ``total`` that is given, it is
    :math:`p(x \mid z, n) = \mathrm{Multinomial}(x \mid n, \lambda(z) / \Lambda(z))` instead: scores are then of
    :math:`\log p(x \mid n)`, which does not hold what n says of x and is not to be compared with :math:`\log p(x)`.

    Args:
        network: Maps latents ``[*lead, D]`` to log rates :math:`\log \lambda`, ``[*lead, *X]``.
        dispersion: :math:`\alpha`, one number; the variance of the total is :math:`\Lambda + \alpha \Lambda^2`.
        learn_dispersion: Whether the dispersion is learned, initialized at ``dispersion``, or fixed.
        total: Which of what the likelihood is given after the latents is the total, ``[*lead, 1]``, counted from 0. By default, the total
            is a part of x, and not given.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.

    Raises:
        ValueError: If the dispersion is not one positive number.
    """

    def __init__(
        self, network: nn.Module, *, dispersion: float | Tensor = 1.0, learn_dispersion: bool = False, total: int | None = None
    ) -> None:
        super().__init__(network)
        if torch.is_tensor(dispersion) and dispersion.dim():
            raise ValueError(f"dispersion must be one number, as there is one total; got shape {tuple(dispersion.shape)}. Give its mean.")
        self.total = total
        self.dispersion = Positive(dispersion, learn=learn_dispersion and total is None, name="dispersion")

    def forward(self, z: Tensor, *given: Tensor) -> TorchDistribution:
        log_rates = super().forward(z, *given)  # an Independent of log rates, whose event is that of x
        event_dims = len(log_rates.event_shape)
        params = log_rates.base_dist.log_rate
        if self.total is not None:
            return Multinomial(params, given[self.total][..., 0], event_dims=event_dims)
        return NegativeMultinomial(params, self.dispersion(params), event_dims=event_dims)

    def elements(self, params: Tensor) -> TorchDistribution:
        return LogRatePoisson(params)
