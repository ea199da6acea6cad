"""Models: modules that turn a prior, a likelihood and an encoder into Pyro's model and guide."""

from itertools import count
from weakref import WeakKeyDictionary

import pyro
from torch import Tensor, nn

_NUMBERS = count()
_NAMES: WeakKeyDictionary = WeakKeyDictionary()


class VAE(nn.Module):
    r"""Variational autoencoder with any prior, likelihood and encoder.

    .. math:: p(x) = \int p(z)\, p(x \mid z)\, dz, \qquad
        \log p(x) = \mathrm{ELBO}(x) + \mathrm{KL}(q(z \mid x) \,\|\, p(z \mid x))

    Its sites are named ``z`` and ``x``, its plate ``data``. It registers its parameters with Pyro under a name of its own, so
    it trains under :func:`inference.fit` and under plain ``pyro.infer.SVI(vae.model, vae.guide, ...)`` alike.

    Args:
        prior: Module whose call returns p(z).
        likelihood: Module whose call ``likelihood(z)`` returns p(x|z).
        encoder: Module whose call ``encoder(x)`` returns q(z|x).

    References:
        Kingma, Welling (2014), Auto-Encoding Variational Bayes. https://arxiv.org/abs/1312.6114
    """

    def __init__(self, prior: nn.Module, likelihood: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        for name, part in (("prior", prior), ("likelihood", likelihood), ("encoder", encoder)):
            if not isinstance(part, nn.Module):
                raise TypeError(f"{name} must be a torch.nn.Module that returns a distribution; got {type(part).__name__}.")
        self.prior = prior
        self.likelihood = likelihood
        self.encoder = encoder

    @property
    def _pyro_name(self) -> str:
        # Not an attribute: a deep copy is another model and needs another name.
        return _NAMES.get(self) or _NAMES.setdefault(self, f"vae{next(_NUMBERS)}")

    def model(self, x: Tensor) -> None:
        """Declares p(z) and p(x|z) for observations ``[B, *X]``."""
        pyro.module(self._pyro_name, self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """Declares q(z|x) for observations ``[B, *X]``."""
        pyro.module(self._pyro_name, self)
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.encoder(x))

    def with_prior(self, prior: nn.Module) -> "VAE":
        """The same likelihood and encoder, shared and not copied, under another prior."""
        return VAE(prior, self.likelihood, self.encoder)
