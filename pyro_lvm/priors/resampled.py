"""Prior by learned rejection: draws of a standard normal distribution that a network accepts."""

import math
from typing import NamedTuple

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn.functional import logsigmoid

from pyro_lvm.checks import check_counts, check_types, warn_caller
from pyro_lvm.distributions.resampled import Resampled

_SEED = 0
_LARGE = 0.01  # nats


class Normalizer(NamedTuple):
    """Estimate of the mean acceptance Z.

    Attributes:
        value: log Z, a scalar, in nats.
        error: Its standard error, a scalar; to first order, that of every log p(z), which all have in common.
        rejection: log (1 - Z), a scalar.
    """

    value: Tensor
    error: Tensor
    rejection: Tensor


class ResampledPrior(nn.Module):
    r"""Prior of draws of a standard normal distribution that a learned function accepts; the last of T is taken in any case.

    .. math:: p(z) = \mathcal N(z \mid 0, I) \Big[(1 - \beta) \frac{a(z)}{Z} + \beta\Big], \quad
        Z = \mathbb E_{\mathcal N(z \mid 0, I)}[a(z)], \quad \beta = (1 - Z)^{T - 1}

    Z has no closed form. In training mode it is estimated anew at each call, with gradients. In evaluation mode it comes from the same
    ``num_draws`` normal draws each time: the density then is a fixed function, which integrates to one but for an error that
    :meth:`normalizer` states, and that all log densities have in common. An error above .01 nats is warned of.

    Args:
        network: Maps ``[*lead, D]`` to the logit of the acceptance a, ``[*lead, 1]``.
        latent_dim: Number of latent features, :math:`D`.
        truncation: :math:`T`, the most proposals for a draw.
        num_draws: Number of normal draws that Z is estimated from in evaluation mode.
        num_train_draws: The same in training mode.

    Raises:
        TypeError: If the network is not a module.
        ValueError: If a count is below 1, or the truncation below 2.

    References:
        Bauer, Mnih (2019), Resampled Priors for Variational Autoencoders. https://arxiv.org/abs/1810.11428
    """

    nodes: Tensor

    def __init__(
        self, network: nn.Module, latent_dim: int, *, truncation: int = 100, num_draws: int = 2**17, num_train_draws: int = 1024
    ) -> None:
        super().__init__()
        check_types(nn.Module, "Pass one such as MLP(latent_dim, [64], 1).", network=network)
        check_counts(2, truncation=truncation)
        check_counts(latent_dim=latent_dim, num_draws=num_draws, num_train_draws=num_train_draws)
        self.network, self.truncation, self.num_train_draws = network, truncation, num_train_draws
        nodes = torch.randn(num_draws, latent_dim, generator=torch.Generator().manual_seed(_SEED))
        self.register_buffer("nodes", nodes, persistent=False)  # follow from the arguments

    def forward(self) -> TorchDistribution:
        zeros = torch.zeros_like(self.nodes[0])
        base = dist.Normal(zeros, zeros + 1).to_event(1)
        normalizer = self.normalizer()
        if not (self.training or torch.compiler.is_compiling() or get_proxy_mode() is not None or normalizer.error.is_meta):
            _warn(normalizer.error.item())
        return Resampled(base, self.log_acceptance, normalizer.value, normalizer.rejection, self.truncation)

    def log_acceptance(self, z: Tensor) -> Tensor:
        """Return log a(z), ``[*lead]``, of values ``[*lead, D]``."""
        return logsigmoid(self.network(z)[..., 0])

    def normalizer(self) -> Normalizer:
        """Return log Z with its standard error; in training mode, from fresh draws."""
        z = torch.randn_like(self.nodes[: self.num_train_draws]) if self.training else self.nodes
        logits = self.network(z)[..., 0]
        value, rejection = (logsigmoid(sign * logits).logsumexp(0) - math.log(len(z)) for sign in (1, -1))
        spread = (logsigmoid(logits) - value).exp().std()  # of a / Z
        return Normalizer(value, spread.detach() / math.sqrt(len(z)), rejection)


def _warn(error: float) -> None:
    if error > _LARGE:
        warn_caller(
            f"log Z of a ResampledPrior has a standard error of {error:.2g} nats, which is in every log p(x) and in no error of a score. "
            "Raise num_draws."
        )
