"""Likelihood of ordered integers, such as the bytes of an image."""

from __future__ import annotations

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_lvm.distributions.discretized_logistic import DiscretizedLogisticMixture
from pyro_lvm.likelihoods.likelihood import Likelihood

# PixelCNN++'s floor: a bin of bytes is 8.6 such scales wide, so a sharper component gains nothing.
SMALLEST_LOG_SCALE = -7.0


class DiscretizedLogisticLikelihood(Likelihood):
    r"""Discretized logistic mixture likelihood of ordered integers, such as the bytes of an image.

    See :class:`~pyro_lvm.distributions.discretized_logistic.DiscretizedLogisticMixture` for the equation. Log scales are clamped to at
    least :math:`-7`.

    Args:
        network: Maps latents ``[*lead, D]`` to ``[*lead, *X, 3 * C]``: mixture logits, then locations, then
            log scales, on a scale where the lowest level is at -1 and the highest at 1.
        num_components: Number of components of the mixture, :math:`C`.
        num_levels: Number of levels of the data; 256 for bytes.

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
