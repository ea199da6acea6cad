"""Model with several levels of latents."""

from typing import Self

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_lvm.checks import check_types
from pyro_lvm.models.levels import Levels
from pyro_lvm.models.parts import with_parts
from pyro_lvm.pair import register


class HierarchicalVAE(nn.Module):
    r"""Variational autoencoder with L levels of latents and any prior of the top level.

    .. math:: p(x, z) = p(z_L) \prod_{l<L} p(z_l \mid z_{>l})\; p(x \mid z_1, \dots, z_L), \qquad
        q(z \mid x) = q(z_L \mid x) \prod_{l<L} q(z_l \mid x, z_{>l})

    Its sites are named ``z1`` (next to the data) to ``zL`` and ``x``; its plate is named ``data``.

    Args:
        prior: Module whose call returns :math:`p(z_L)`; a VampPrior of ``levels.top()`` shares the guide's encoder.
        levels: Parts of the guide and of the levels below the top, such as :func:`~pyro_lvm.models.levels.stacked` or
            :func:`~pyro_lvm.models.levels.ladder` returns them.
        likelihood: Module that maps the state of the lowest level to p(x|z).

    Raises:
        TypeError: If a part is not a module.
        ValueError: If (on call) prior and guide of a level disagree on its shape.

    References:
        Tomczak, Welling (2018), VAE with a VampPrior. https://arxiv.org/abs/1705.07120

        Sønderby et al. (2016), Ladder Variational Autoencoders. https://arxiv.org/abs/1602.02282
    """

    def __init__(self, prior: nn.Module, levels: Levels, likelihood: nn.Module) -> None:
        super().__init__()
        check_types(nn.Module, "The order is prior, levels, likelihood.", prior=prior, likelihood=likelihood)
        check_types(Levels, "The order is prior, levels, likelihood.", levels=levels)
        self.prior, self.levels, self.likelihood = prior, levels, likelihood

    def model(self, x: Tensor) -> None:
        """Declare p(z_L), each ``p(z_l|z_>l)`` and p(x|z) for observations ``[B, *X]``."""
        register(self, "prior", "likelihood", "levels")
        state: tuple[Tensor, ...] = ()
        with pyro.plate("data", len(x)):
            priors = (self.prior, *self.levels.conditionals)
            for name, prior, step in zip(self._names(), priors, self.levels.path, strict=True):
                state = (step(*state, _sample(name, prior(*state))),)
            pyro.sample("x", self.likelihood(*state), obs=x)

    def guide(self, x: Tensor) -> None:
        """Declare q(z_L|x) and each ``q(z_l|x, z_>l)`` for observations ``[B, *X]``."""
        register(self, "levels")
        top, *names = self._names()
        encoder, *encoders = self.levels.encoders
        e, *features = self.levels.bottom_up(x)
        state: tuple[Tensor, ...] = ()
        with pyro.plate("data", len(x)):
            z = pyro.sample(top, encoder(e))
            for name, encoder, e, step in zip(names, encoders, features, self.levels.path[:-1], strict=True):
                state = (step(*state, z),)
                z = pyro.sample(name, encoder(e, *state))

    def with_prior(self, prior: nn.Module) -> Self:
        """Return a model with another prior of the top level; levels and likelihood are shared, not copied."""
        return with_parts(self, prior=prior)

    def _names(self) -> list[str]:
        return [f"z{level}" for level in range(len(self.levels.encoders), 0, -1)]


def _sample(name: str, prior: TorchDistribution) -> Tensor:
    z = pyro.sample(name, prior)
    drawn = z.shape[z.dim() - len(prior.event_shape) :]
    if drawn != prior.event_shape:
        raise ValueError(
            f"level {name}: prior and guide must have the same event shape; the prior has {tuple(prior.event_shape)}, the guide drew "
            f"{tuple(drawn)}. Give both networks the same number of latents."
        )
    return z
