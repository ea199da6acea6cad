"""Models with one level of latents: a prior, a likelihood and an encoder as Pyro's model and guide."""

from typing import Self

import pyro
from torch import Tensor, nn

from pyro_lvm.checks import check_types
from pyro_lvm.models.parts import with_parts
from pyro_lvm.pair import register
from pyro_lvm.scopes import attach, belongings


class VAE(nn.Module):
    r"""Variational autoencoder with any prior, likelihood and encoder.

    .. math:: p(x) = \int p(z)\, p(x \mid z)\, dz, \qquad
        \log p(x) = \mathrm{ELBO}(x) + \mathrm{KL}(q(z \mid x) \,\|\, p(z \mid x))

    Its sites are named ``z`` and ``x``; its plate is named ``data``. Its parts are registered with Pyro under unique names, so
    that it can be trained by :func:`inference.fit` and by plain ``pyro.infer.SVI(vae.model, vae.guide, ...)`` alike.

    Args:
        prior: Module whose call returns p(z).
        likelihood: Module whose call ``likelihood(z)`` returns p(x|z).
        encoder: Module whose call ``encoder(x)`` returns q(z|x).

    Raises:
        TypeError: If a part is not a module.

    References:
        Kingma, Welling (2014), Auto-Encoding Variational Bayes. https://arxiv.org/abs/1312.6114
    """

    def __init__(self, prior: nn.Module, likelihood: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        check_types(nn.Module, "Its call returns a distribution.", prior=prior, likelihood=likelihood, encoder=encoder)
        self.prior, self.likelihood, self.encoder = prior, likelihood, encoder

    def model(self, x: Tensor) -> None:
        """Declare p(z) and p(x|z) for observations ``[B, *X]``."""
        register(self, "prior", "likelihood")
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """Declare q(z|x) for observations ``[B, *X]``."""
        register(self, "encoder")
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.encoder(x))

    def with_prior(self, prior: nn.Module) -> Self:
        """Return a model with another prior; likelihood and encoder are shared, not copied."""
        return with_parts(self, prior=prior)


class TwoStageVAE(nn.Module):
    r"""VAE whose prior is a second VAE, fitted to the codes of the first.

    .. math:: p(x) = \int p(u)\, p(z \mid u)\, p(x \mid z)\, du\, dz, \qquad q(z, u \mid x) = q(z \mid x)\, q(u \mid z)

    Its sites are named ``u``, ``z`` and ``x``. The parts are shared with both VAEs, not copied.

    Args:
        first: VAE of the data; its prior is not used.
        second: VAE of the codes z, fitted to draws from :math:`q(z \mid x)`.

    Raises:
        TypeError: If one is not a :class:`VAE`.

    References:
        Dai, Wipf (2019), Diagnosing and Enhancing VAE Models. https://arxiv.org/abs/1903.05789
    """

    def __init__(self, first: VAE, second: VAE) -> None:
        super().__init__()
        check_types(VAE, "Write p(u) p(z|u) p(x|z) as a Pyro program instead.", first=first, second=second)
        self.prior = second.prior
        self.code_likelihood, self.likelihood = second.likelihood, first.likelihood
        self.encoder, self.code_encoder = first.encoder, second.encoder
        attach(self, belongings(first).of_variant())

    def model(self, x: Tensor) -> None:
        """Declare p(u), p(z|u) and p(x|z) for observations ``[B, *X]``."""
        register(self, "prior", "code_likelihood", "likelihood")
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", self.prior())
            z = pyro.sample("z", self.code_likelihood(u))
            pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """Declare q(z|x) and q(u|z) for observations ``[B, *X]``."""
        register(self, "encoder", "code_encoder")
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.encoder(x))
            pyro.sample("u", self.code_encoder(z))
