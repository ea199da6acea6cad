"""The model whose latents are discrete codes."""

import pyro
from pyro.infer import config_enumerate
import torch
from torch import Tensor, nn

from pyro_lvm.checks import check_types
from pyro_lvm.encoders.codes import CodeEncoder
from pyro_lvm.encoders.quantizer import Quantizer
from pyro_lvm.encoders.soft import SoftQuantizer
from pyro_lvm.pair import Pair, register


class VQVAE(nn.Module):
    r"""Autoencoder with a grid of discrete codes as latents, any prior of codes.

    .. math:: p(x) = \sum_z p(z)\, p(x \mid e(z)), \qquad q(z \mid x) = [z = \text{nearest codes of } x]

    with :math:`e(z)` the code vectors. With one certain code for each datum, the ELBO is :math:`\log p(x, z(x))`, a lower bound on log p(x) and
    no estimate of it; :meth:`soft` and :meth:`enumerated` give estimates. Its sites are named ``z`` and ``x``, its plate ``data``. Where gradients
    are wanted the model also declares the encoder's penalties, so that training losses hold them and validation losses do not.

    Args:
        prior: Module whose call returns p(z), such as :class:`~pyro_lvm.priors.codes.UniformCodePrior` while training.
        likelihood: Module that maps code vectors ``[*lead, *S, d]`` to p(x|z).
        encoder: Guide of codes: :class:`~pyro_lvm.encoders.codebook.VectorQuantizer`, :class:`~pyro_lvm.encoders.fsq.FSQ`,
            :class:`~pyro_lvm.encoders.relaxed.StraightThroughEncoder`, :class:`~pyro_lvm.encoders.relaxed.GumbelEncoder`.

    Raises:
        TypeError: If a part is no module.

    References:
        van den Oord, Vinyals, Kavukcuoglu (2017), Neural Discrete Representation Learning. https://arxiv.org/abs/1711.00937
    """

    def __init__(self, prior: nn.Module, likelihood: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        check_types(nn.Module, "The order is prior, likelihood, encoder.", prior=prior, likelihood=likelihood, encoder=encoder)
        check_types(CodeEncoder, "Use a guide of discrete codes, such as VectorQuantizer or FSQ.", encoder=encoder)
        self.prior, self.likelihood, self.encoder = prior, likelihood, encoder

    def model(self, x: Tensor) -> None:
        """Declares p(z) and p(x|z) for observations ``[B, *X]``, and the penalties of training."""
        register(self, "prior", "likelihood", "encoder")
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.encoder.code_prior(self.prior()))
            vectors = self.encoder.vectors(z)
            if torch.is_grad_enabled():
                vectors = self.encoder.steer(x, z, vectors)
            pyro.sample("x", self.likelihood(vectors), obs=x)

    def guide(self, x: Tensor) -> None:
        """Declares q(z|x) for observations ``[B, *X]``."""
        register(self, "encoder")
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.encoder(x))

    def with_prior(self, prior: nn.Module) -> "VQVAE":
        """The same likelihood and encoder, shared and not copied, under another prior."""
        return VQVAE(prior, self.likelihood, self.encoder)

    def soft(self, temperature: float) -> "VQVAE":
        """The same model, its parts shared, with a guide that draws codes: a proposal, whose log p(x) is an estimate and not only a bound.

        Raises:
            TypeError: If the encoder draws its codes already.
        """
        if not isinstance(self.encoder, Quantizer):
            raise TypeError(
                f"the encoder must give the nearest codes; got a {type(self.encoder).__name__}, which draws them. Score it as it is."
            )
        return VQVAE(self.prior, self.likelihood, SoftQuantizer(self.encoder, temperature))

    def enumerated(self) -> Pair:
        """The same model with its codes summed out exactly, for code spaces of some thousand states.

        On a run, a ValueError tells if there are too many.
        """
        return Pair(config_enumerate(self.model, default="parallel"), _no_latents)


def _no_latents(x: Tensor) -> None:
    """The guide of a model whose latents are summed out."""
