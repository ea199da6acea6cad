r"""Likelihoods p(x|z): modules whose call turns latents into a Pyro distribution of one datum.

=======================================  =================================================  ===========
data x                                   likelihood                                         p(x|z) is a
=======================================  =================================================  ===========
0 or 1                                   :class:`BernoulliLikelihood`                       mass
integers 0..255 in order, e.g. pixels    :class:`DiscretizedLogisticLikelihood`             mass
codes 0..V-1 without order, e.g. words   :class:`CategoricalLikelihood`                     mass
counts 0, 1, 2, ...                      :class:`PoissonLikelihood`                         mass
counts that vary more than a Poisson     :class:`NegativeBinomialLikelihood`                mass
real numbers                             :class:`GaussianLikelihood`                        density
real numbers with outliers               :class:`StudentTLikelihood`                        density
=======================================  =================================================  ===========
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from .bernoulli import IndependentBernoulli
from .discretized import DiscretizedLogisticMixture
from .univariate import LogRatePoisson, NegativeBinomial, StudentT

# PixelCNN++'s floor: a bin of bytes is 8.6 such scales wide, so a sharper component gains nothing.
SMALLEST_LOG_SCALE = -7.0


class Likelihood(nn.Module, ABC):
    r"""Conditional distribution p(x|z) whose parameters a network computes from the latents.

    .. math:: \log p(x \mid z) = \sum_i \log p(x_i \mid \mathrm{network}(z)_i)

    Args:
        network: Maps latents ``[*lead, D]`` to ``[*lead, *X]``, or as the subclass says. One that has an
            ``in_shape``, as ours do, takes latents ``[*lead, *in_shape]``.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> TorchDistribution:
        elements = self.elements(self.network(z))
        num_lead = z.dim() - len(getattr(self.network, "in_shape", (1,)))
        return self.joined(elements, len(elements.batch_shape) - num_lead)

    @abstractmethod
    def elements(self, params: Tensor) -> TorchDistribution:
        r"""Independent univariate distributions, batch shape ``[*lead, *X]``, of the network's output."""

    def joined(self, elements: TorchDistribution, num_dims: int) -> TorchDistribution:
        """One distribution of what the last dimensions of the elements hold."""
        return elements.to_event(num_dims)


class BernoulliLikelihood(Likelihood):
    r"""Binary data.

    .. math:: p(x_i \mid z) = \sigma(l_i)^{x_i} \, \sigma(-l_i)^{1 - x_i}

    Args:
        network: Maps latents ``[*lead, D]`` to logits :math:`l`, ``[*lead, *X]``.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.
    """

    def elements(self, params: Tensor) -> TorchDistribution:
        return dist.Bernoulli(logits=params)

    def joined(self, elements: TorchDistribution, num_dims: int) -> TorchDistribution:
        return IndependentBernoulli(elements, num_dims) if num_dims else elements


class CategoricalLikelihood(Likelihood):
    r"""Codes without an order, integers 0 to V - 1 (as integers or floats).

    .. math:: p(x_i = v \mid z) = \mathrm{softmax}(l_i)_v

    Args:
        network: Maps latents ``[*lead, D]`` to logits :math:`l`, ``[*lead, *X, V]``.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.
    """

    def elements(self, params: Tensor) -> TorchDistribution:
        return dist.Categorical(logits=params)


class DiscretizedLogisticLikelihood(Likelihood):
    r"""Integers in order, such as bytes of an image: a mixture of logistics gathered at the integers.

    See :class:`~pyro_lvm.discretized.DiscretizedLogisticMixture` for the equation. Log scales are held above
    :math:`-7`.

    Args:
        network: Maps latents ``[*lead, D]`` to ``[*lead, *X, 3 * C]``: mixture logits, then locations, then
            log scales, where the lowest level is at -1 and the highest at 1.
        num_components: Components of the mixture, :math:`C`.
        num_levels: Number of levels of the data, 256 for bytes.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.

    Raises:
        ValueError: If the network's output does not end in ``3 * C``.

    References:
        Salimans, Karpathy, Chen, Kingma (2017), PixelCNN++. https://arxiv.org/abs/1701.05517
    """

    def __init__(self, network: nn.Module, *, num_components: int = 1, num_levels: int = 256) -> None:
        super().__init__(network)
        self.num_components, self.num_levels = num_components, num_levels

    def elements(self, params: Tensor) -> TorchDistribution:
        if params.shape[-1] != 3 * self.num_components:
            raise ValueError(
                f"The network must give [*lead, *X, {3 * self.num_components}], three numbers for each of "
                f"{self.num_components} components; got {tuple(params.shape)}. Let its out_shape end in "
                f"{3 * self.num_components}."
            )
        logits, loc, log_scale = params.chunk(3, -1)  # [*lead, *X, C]
        log_scale = log_scale.clamp(min=SMALLEST_LOG_SCALE)
        return DiscretizedLogisticMixture(logits, loc, log_scale, num_levels=self.num_levels)


class PoissonLikelihood(Likelihood):
    r"""Counts.

    .. math:: p(x_i \mid z) = \lambda_i^{x_i} e^{-\lambda_i} / x_i!

    Args:
        network: Maps latents ``[*lead, D]`` to log rates :math:`\log \lambda`, ``[*lead, *X]``.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.
    """

    def elements(self, params: Tensor) -> TorchDistribution:
        return LogRatePoisson(params)


class NegativeBinomialLikelihood(Likelihood):
    r"""Counts whose variance exceeds their mean.

    With mean :math:`\mu` and dispersion :math:`\alpha`, the variance is :math:`\mu + \alpha \mu^2`; as
    :math:`\alpha \to 0` this is a Poisson distribution. With :math:`r = 1 / \alpha`,

    .. math::
        p(x_i \mid z) = \frac{\Gamma(x_i + r_i)}{\Gamma(r_i) \, x_i!}
            \left(\frac{r_i}{r_i + \mu_i}\right)^{r_i} \left(\frac{\mu_i}{r_i + \mu_i}\right)^{x_i}

    Args:
        network: Maps latents ``[*lead, D]`` to log means :math:`\log \mu`, ``[*lead, *X]``.
        dispersion: :math:`\alpha`, one number or a tensor ``[*X]``.
        learn_dispersion: Whether ``dispersion`` is where learning starts, one parameter per entry, or fixed.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.

    Raises:
        ValueError: If the dispersion is not positive or its shape does not fit.
    """

    def __init__(
        self, network: nn.Module, *, dispersion: float | Tensor = 1.0, learn_dispersion: bool = False
    ) -> None:
        super().__init__(network)
        self.dispersion = Positive(dispersion, learn=learn_dispersion, name="dispersion")

    def elements(self, params: Tensor) -> TorchDistribution:
        total_count = 1.0 / self.dispersion(params)
        return NegativeBinomial(total_count, logits=params - total_count.log())


class GaussianLikelihood(Likelihood):
    r"""Real data with Gaussian noise.

    .. math:: p(x_i \mid z) = \mathcal{N}(x_i \mid \mu_i, s_i^2)

    Args:
        network: Maps latents ``[*lead, D]`` to means :math:`\mu`, ``[*lead, *X]``.
        scale: Standard deviation :math:`s`, one number or a tensor ``[*X]``.
        learn_scale: Whether ``scale`` is where learning starts, one parameter per entry, or fixed.

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
    r"""Real data with outliers.

    .. math::
        p(x_i \mid z) = \frac{\Gamma(\frac{\nu_i + 1}{2})}{\Gamma(\frac{\nu_i}{2}) \sqrt{\pi \nu_i} \, s_i}
            \left(1 + \frac{(x_i - \mu_i)^2}{\nu_i s_i^2}\right)^{-(\nu_i + 1) / 2}

    Args:
        network: Maps latents ``[*lead, D]`` to locations :math:`\mu`, ``[*lead, *X]``.
        df: Degrees of freedom :math:`\nu`, one number or a tensor ``[*X]``.
        scale: :math:`s`, one number or a tensor ``[*X]``; not the standard deviation.
        learn_df: Whether ``df`` is where learning starts, one parameter per entry, or fixed.
        learn_scale: The same for ``scale``.

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


class Positive(nn.Module):
    r"""A positive number or tensor ``[*X]``, fixed, or learned through its logarithm.

    Args:
        value: The number or tensor.
        learn: Whether to learn it from there on.
        name: What errors call it.

    Returns:
        On call with parameters ``[*lead, *X]``: the tensor, ``[]`` or ``[*X]``.

    Raises:
        ValueError: If it is not positive, or does not fit the parameters it is called with.
    """

    def __init__(self, value: float | Tensor, *, learn: bool, name: str) -> None:
        super().__init__()
        tensor = torch.as_tensor(value, dtype=None if torch.is_tensor(value) else torch.get_default_dtype())
        if not ((tensor > 0) & tensor.isfinite()).all():
            raise ValueError(f"{name} must be positive and finite; got {value}. Give it, not its logarithm.")
        self.name = name
        if learn:
            self.log_value = nn.Parameter(tensor.log())
        elif torch.is_tensor(value):
            self.register_buffer("fixed", tensor)
        else:
            self.fixed = float(value)  # exact in every dtype, where a float32 buffer made double is not

    @property
    def value(self) -> float | Tensor:
        return self.log_value.exp() if hasattr(self, "log_value") else self.fixed

    def forward(self, params: Tensor) -> Tensor:
        value = self.value
        if not torch.is_tensor(value):
            return params.new_full((), value)
        if params.shape[params.dim() - value.dim() :] != value.shape:
            raise ValueError(
                f"{self.name} must have shape [*X] where the network gives [*lead, *X], here "
                f"{tuple(params.shape)}; got {tuple(value.shape)}. Give one number, or one for each element."
            )
        return value
