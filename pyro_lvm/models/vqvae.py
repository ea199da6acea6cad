"""Model whose latents are discrete codes."""

from typing import Any, Self

import pyro
from pyro.infer import config_enumerate
import torch
from torch import Tensor, nn

from pyro_lvm.checks import check_types
from pyro_lvm.encoders.codes import CodeEncoder
from pyro_lvm.encoders.quantizer import Quantizer
from pyro_lvm.encoders.soft import SoftQuantizer
from pyro_lvm.models.parts import with_parts
from pyro_lvm.pair import Pair, register


class VQVAE(nn.Module):
    r"""Autoencoder with a grid of discrete codes as latents and any prior of codes.

    .. math:: p(x) = \sum_z p(z)\, p(x \mid e(z)), \qquad q(z \mid x) = [z = \text{nearest codes of } x]

    with code vectors :math:`e(z)`. If the codes of each datum are certain, the ELBO is :math:`\log p(x, z(x))`, which is a lower bound
    on log p(x) and not an estimate of it; :meth:`soft` and :meth:`enumerated` give estimates. Its sites are named ``z`` and ``x``; its
    plate is named ``data``. When gradients are enabled, the model also declares the encoder's penalties, so that training losses include
    them and validation losses do not.

    Args:
        prior: Module whose call returns p(z), such as :class:`~pyro_lvm.priors.codes.UniformCodePrior` while training.
        likelihood: Module that maps code vectors ``[*lead, *S, d]`` to p(x|z).
        encoder: Guide of codes: :class:`~pyro_lvm.encoders.codebook.VectorQuantizer`, :class:`~pyro_lvm.encoders.fsq.FSQ`,
            :class:`~pyro_lvm.encoders.relaxed.StraightThroughEncoder`, :class:`~pyro_lvm.encoders.relaxed.GumbelEncoder`.

    Raises:
        TypeError: If a part is not a module.

    References:
        van den Oord, Vinyals, Kavukcuoglu (2017), Neural Discrete Representation Learning. https://arxiv.org/abs/1711.00937
    """

    encoder: Any  # a module that is also a CodeEncoder; Python has no type for both

    def __init__(self, prior: nn.Module, likelihood: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        check_types(nn.Module, "The order is prior, likelihood, encoder.", prior=prior, likelihood=likelihood, encoder=encoder)
        check_types(CodeEncoder, "Use a guide of discrete codes, such as VectorQuantizer or FSQ.", encoder=encoder)
        self.prior, self.likelihood, self.encoder = prior, likelihood, encoder

    def model(self, x: Tensor) -> None:
        """Declare p(z) and p(x|z) for observations ``[B, *X]``, and the penalties of training."""
        register(self, "prior", "likelihood", "encoder")
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.encoder.code_prior(self.prior()))
            vectors = self.encoder.vectors(z)
            if torch.is_grad_enabled():
                vectors = self.encoder.steer(x, z, vectors)
            pyro.sample("x", self.likelihood(vectors), obs=x)

    def guide(self, x: Tensor) -> None:
        """Declare q(z|x) for observations ``[B, *X]``."""
        register(self, "encoder")
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.encoder(x))

    def with_prior(self, prior: nn.Module) -> Self:
        """Return a model with another prior; likelihood and encoder are shared, not copied."""
        return with_parts(self, prior=prior)

    def soft(self, temperature: float) -> Self:
        """Return the model with a guide that draws codes, which gives an estimate of log p(x) and not only a bound; parts are shared.

        Raises:
            TypeError: If the encoder already draws its codes.
            ValueError: If the temperature is not positive and finite.
        """
        if not isinstance(self.encoder, Quantizer):
            raise TypeError(
                f"the encoder must give the nearest codes; got a {type(self.encoder).__name__}, which draws them. Score it as it is."
            )
        return with_parts(self, encoder=SoftQuantizer(self.encoder, temperature))

    def enumerated(self) -> Pair:
        """Return the model with its codes summed out exactly, for code spaces of a few thousand states.

        Raises:
            ValueError: If (on a run) there are too many states.
        """
        return Pair(config_enumerate(self.model, default="parallel"), _no_latents)


def _no_latents(x: Tensor) -> None:
    """Guide of a model whose latents are summed out."""
