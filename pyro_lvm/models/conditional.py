"""Model of data given labels or covariates."""

import pyro
from torch import Tensor, nn

from pyro_lvm.checks import check_types
from pyro_lvm.pair import register


class ConditionalVAE(nn.Module):
    r"""Variational autoencoder of x given y, with y in prior, likelihood and encoder.

    .. math:: p(x \mid y) = \int p(z \mid y)\, p(x \mid z, y)\, dz, \qquad q(z \mid x, y)

    Scores are of log p(x|y): y is given and not explained, so that they are densities of x with more information than log p(x) has.
    Any encoder is a prior p(z|y) if its network takes y, and any encoder or likelihood takes y after its first input if its network is a
    :class:`~pyro_lvm.networks.network.Join`. Its sites are named ``z`` and ``x``; its plate is named ``data``.

    Args:
        prior: Module whose call ``prior(y)`` returns p(z|y).
        likelihood: Module whose call ``likelihood(z, y)`` returns p(x|z, y).
        encoder: Module whose call ``encoder(x, y)`` returns q(z|x, y).

    Raises:
        TypeError: If a part is not a module.

    Example:
        >>> import torch
        >>> from pyro_lvm import MLP, BernoulliLikelihood, ConditionalVAE, Join, LabelIndicators, NormalEncoder, check_pair
        >>> labels = LabelIndicators(10)
        >>> vae = ConditionalVAE(
        ...     prior=NormalEncoder(torch.nn.Sequential(labels, MLP(10, [16], 2 * 4))),
        ...     likelihood=BernoulliLikelihood(Join(None, labels, MLP(4 + 10, [16], 64))),
        ...     encoder=NormalEncoder(Join(None, labels, MLP(64 + 10, [16], 2 * 4))),
        ... )
        >>> check_pair(vae, torch.ones(5, 64), torch.arange(5)).observed
        ('x',)

    References:
        Sohn, Lee, Yan (2015), Learning Structured Output Representation using Deep Conditional Generative Models. NeurIPS 28.
    """

    def __init__(self, prior: nn.Module, likelihood: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        check_types(nn.Module, "Its call returns a distribution.", prior=prior, likelihood=likelihood, encoder=encoder)
        self.prior, self.likelihood, self.encoder = prior, likelihood, encoder

    def model(self, x: Tensor, *given: Tensor) -> None:
        """Declare p(z|y) and p(x|z, y) for observations ``[B, *X]`` and what is given, each ``[B, *C]``."""
        register(self, "prior", "likelihood")
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(*given))
            pyro.sample("x", self.likelihood(z, *given), obs=x)

    def guide(self, x: Tensor, *given: Tensor) -> None:
        """Declare q(z|x, y) for observations ``[B, *X]`` and what is given, each ``[B, *C]``."""
        register(self, "encoder")
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.encoder(x, *given))
