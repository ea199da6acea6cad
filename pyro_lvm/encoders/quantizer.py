"""Guides q(z|x) of discrete codes: each vector of a grid becomes the nearest of V code vectors.

A code is an index, so that a site's value is discrete and exact. The model looks up the code vector; in training, it passes the gradient
of the likelihood on to the features of x as if they had not been rounded.
"""

from collections.abc import Sequence
import math

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from pyro.distributions.util import is_validation_enabled
import torch
from torch import Size, Tensor, nn
from torch.nn import functional as F

from pyro_lvm.checks import check_counts
from pyro_lvm.encoders.codes import code_use
from pyro_lvm.encoders.gradients import PassGradient, straight_through
from pyro_lvm.sites import penalty


class Quantizer(nn.Module):
    r"""Base class of guides that give every slot of a grid the code nearest to its features.

    .. math:: q(z \mid x) = \prod_m \big[z_m = \operatorname{argmin}_v \lVert h_m(x) - e_v \rVert\big]

    A subclass defines the code vectors, ``codebook``.

    Args:
        network: Module that maps ``[*lead, *X]`` to a grid of vectors, ``[*lead, *S, d]``.
        num_codes: Number of codes, :math:`V`.
        out_shape: Shape ``[*S, d]`` of the grid; by default the network's ``out_shape``.
        num_groups: Number of codebooks G of a product quantizer: each encodes its own ``d / G`` features of every vector, and the codes
            of a datum have shape ``[*S, G]``.
        commitment: Weight of the squared distance between features and code vectors, a penalty in nats.
        pass_gradient: How code vectors get the features' gradient, :func:`straight_through`
            or :func:`~pyro_lvm.encoders.gradients.rotated`.

    Returns:
        On call with data: a point mass on codes, int64, with batch shape ``[*lead]`` and event shape ``code_shape``.

    Raises:
        ValueError: If a size is wrong, or (on call) the network's output is not finite or has the wrong shape.
    """

    batch_counts: Tensor
    epoch_counts: Tensor
    offsets: Tensor

    def __init__(
        self,
        network: nn.Module,
        num_codes: int,
        *,
        out_shape: Sequence[int] | None = None,
        num_groups: int = 1,
        commitment: float = 0.25,
        pass_gradient: PassGradient = straight_through,
    ) -> None:
        super().__init__()
        self.network, self.num_codes, self.num_groups = network, num_codes, num_groups
        self.out_shape = _checked_shape(getattr(network, "out_shape", None) if out_shape is None else out_shape)
        self.commitment, self.pass_gradient = commitment, pass_gradient
        _check_sizes(num_codes, num_groups, self.out_shape[-1], commitment)
        self.register_buffer("batch_counts", torch.zeros(num_groups, num_codes), persistent=False)
        self.register_buffer("epoch_counts", torch.zeros(num_groups, num_codes).double(), persistent=False)
        self.register_buffer("offsets", torch.arange(num_groups) * num_codes, persistent=False)

    @property
    def codebook(self) -> Tensor:
        """The code vectors, ``[G, V, d / G]``."""
        raise NotImplementedError

    @property
    def code_shape(self) -> Size:
        """Shape of the codes of one datum: ``[*S]``, or ``[*S, G]`` for a product quantizer."""
        return self.out_shape[:-1] + ((self.num_groups,) if self.num_groups > 1 else ())

    def features(self, x: Tensor) -> Tensor:
        """Return the features to be rounded, ``[*lead, *S, d]``."""
        h = self.network(x)
        if h.shape[h.dim() - len(self.out_shape) :] != self.out_shape:
            expected = ", ".join(map(str, self.out_shape))
            raise ValueError(
                f"network must return a grid of vectors, [*lead, {expected}]; got {tuple(h.shape)}. Change its last layer, or out_shape."
            )
        if is_validation_enabled() and not h.isfinite().all():  # even NaN has a nearest code
            raise ValueError("network must return finite vectors; got NaN or infinite values. Look for NaN in its parameters.")
        return h

    def forward(self, x: Tensor) -> TorchDistribution:
        return dist.Delta(self.nearest(self.features(x)), event_dim=len(self.code_shape))

    def nearest(self, features: Tensor) -> Tensor:
        """Return the nearest codes, ``[*lead, *code_shape]``, of features ``[*lead, *S, d]``."""
        return self._relative_distances(features).argmin(-1)

    def distances(self, features: Tensor) -> Tensor:
        """Return the squared distances of features ``[*lead, *S, d]`` to all code vectors, ``[*lead, *code_shape, V]``."""
        squares = self._grouped(features).square().sum(-1, keepdim=True)
        return (self._relative_distances(features) + squares).clamp_min(0.0)

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the code vectors, ``[*lead, *S, d]``, of codes ``[*lead, *code_shape]``."""
        if self.num_groups == 1:
            return F.embedding(codes, self.codebook[0])
        return F.embedding(codes + self.offsets, self.codebook.flatten(0, 1)).flatten(-2)

    def code_prior(self, prior: TorchDistribution) -> TorchDistribution:
        """Return the prior itself, because this guide draws indices."""
        return prior

    def steer(self, x: Tensor, codes: Tensor, vectors: Tensor) -> Tensor:
        """Return the code vectors with a gradient for the features of x, declare the penalties of training, and count the codes in use.

        Where codes are summed out, so that they are not those of x, vectors are returned as they are.
        """
        if codes.shape[codes.dim() - len(self.code_shape) - 1] != len(x):
            return vectors
        h = self.features(x)
        if self.training:
            self.observe(h.detach(), codes)
        penalty("codes", self.cost(h, vectors).flatten(-len(self.out_shape)).sum(-1))
        return self.pass_gradient(h, vectors)

    def cost(self, features: Tensor, vectors: Tensor) -> Tensor:
        r"""Return the commitment :math:`\beta (h - \operatorname{sg}(e))^2`, ``[*lead, *S, d]``."""
        return self.commitment * (features - vectors.detach()).square()

    def observe(self, features: Tensor, codes: Tensor) -> None:
        """Count the codes of a training batch."""
        flat = (codes + self.offsets).flatten() if self.num_groups > 1 else codes.flatten()
        self.batch_counts.view(-1).index_add_(0, flat, torch.ones_like(flat, dtype=self.batch_counts.dtype))

    @torch.no_grad()
    def after_step(self) -> None:
        """Add the batch's counts to the epoch's after an optimizer's step."""
        self.epoch_counts += self.batch_counts
        self.batch_counts.zero_()

    @torch.no_grad()
    def epoch_statistics(self) -> dict[str, float]:
        """Return the use of the codes since the last call, ``code_usage`` and ``code_perplexity``; see :func:`code_use`."""
        usage, perplexity = code_use(self.epoch_counts)
        self.epoch_counts.zero_()
        return {"code_usage": usage, "code_perplexity": perplexity}

    def _grouped(self, features: Tensor) -> Tensor:
        """Return features as ``[*lead, *code_shape, d / G]``."""
        return features if self.num_groups == 1 else features.unflatten(-1, (self.num_groups, -1))

    def _relative_distances(self, features: Tensor) -> Tensor:
        """Return the squared distances without the square of the features, ``[*lead, *code_shape, V]``."""
        codebook = self.codebook  # [G, V, d / G]
        norms = codebook.square().sum(-1)  # [G, V]
        if self.num_groups == 1:
            return norms[0] - 2 * features @ codebook[0].T
        return norms - 2 * (self._grouped(features)[..., None, :] @ codebook.mT).squeeze(-2)


def _checked_shape(shape: Sequence[int] | None) -> Size:
    if shape is None or len(shape) < 2 or min(shape) < 1:
        got = None if shape is None else tuple(shape)
        raise ValueError(
            f"out_shape must be the shape of a grid of vectors, (*S, d) with at least one slot; got {got}. Use a network that has such an "
            "out_shape, for instance MLP(784, (300,), (16, 8)), or give out_shape."
        )
    return Size(shape)


def _check_sizes(num_codes: int, num_groups: int, vector_dim: int, commitment: float) -> None:
    check_counts(2, num_codes=num_codes)
    if num_groups < 1 or vector_dim % num_groups:
        raise ValueError(
            f"num_groups must divide the {vector_dim} features of a vector; got {num_groups}. Each codebook encodes an equal part."
        )
    if not (math.isfinite(commitment) and commitment >= 0):
        raise ValueError(f"commitment must be at least 0 and finite; got {commitment}. Leave it out for 0.25.")
