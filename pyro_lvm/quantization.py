"""Guides q(z|x) of discrete codes: each vector of a grid becomes the nearest of V code vectors.

A code is an index, and a site's value is discrete and exact. The vector that it stands for is looked up by the model, which in training
passes the gradient of the likelihood on to the features of x as if they had not been rounded.
"""

from collections.abc import Callable, Sequence
import math

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.util import is_validation_enabled
from torch import Size, Tensor, nn
from torch.nn import functional as F

from pyro_lvm.pair import penalty

__all__ = ["Quantizer", "VectorQuantizer", "code_use", "rotated", "straight_through"]

PassGradient = Callable[[Tensor, Tensor], Tensor]

_SMOOTHING = 1e-5  # of the counts of codes
_MOST_VECTORS = 20_000  # that k-means sees


def straight_through(features: Tensor, vectors: Tensor) -> Tensor:
    r"""Code vectors with the gradient of the features.

    .. math:: e + h - \operatorname{sg}(h)

    Args:
        features: What was rounded, h, ``[*lead, d]``.
        vectors: The code vectors e, ``[*lead, d]``.

    References:
        Bengio, Léonard, Courville (2013), Estimating or Propagating Gradients Through Stochastic Neurons. https://arxiv.org/abs/1308.3432
    """
    return vectors.detach() + (features - features.detach())


def rotated(features: Tensor, vectors: Tensor) -> Tensor:
    r"""Code vectors with the gradient of the features, turned and scaled as rounding turned and scaled them.

    .. math:: e = \frac{\lVert e \rVert}{\lVert h \rVert} R h, \qquad R = I - 2 r r^\top + 2 \hat e \hat h^\top, \quad
        r = \frac{\hat h + \hat e}{\lVert \hat h + \hat e \rVert}

    with R and the norms held fixed, so that the angle between gradient and vector is kept.

    Args:
        features: What was rounded, h, ``[*lead, d]``.
        vectors: The code vectors e, ``[*lead, d]``.

    References:
        Fifty et al. (2025), Restructuring Vector Quantization with the Rotation Trick. https://arxiv.org/abs/2410.06424
    """
    h, e = features.detach(), vectors.detach()
    h_unit, e_unit = F.normalize(h, dim=-1), F.normalize(e, dim=-1)
    r = F.normalize(h_unit + e_unit, dim=-1)
    scale = e.norm(dim=-1, keepdim=True) / h.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(h.dtype).tiny)
    along_r, along_h = ((features * unit).sum(-1, keepdim=True) for unit in (r, h_unit))
    return straight_through(scale * (features - 2 * along_r * r + 2 * along_h * e_unit), vectors)


def code_use(counts: Tensor) -> tuple[float, float]:
    r"""How well codes are used: the share of codes that occur at all, and the perplexity of their frequencies f.

    .. math:: \exp\Big(-\sum_v f_v \log f_v\Big)

    It is V if all codes are equally frequent, and 1 if there is only one. Of several codebooks, both are means over the codebooks.

    Args:
        counts: How often each code occurs, ``[V]``, or ``[G, V]`` for G codebooks.

    Returns:
        Usage, between 0 and 1, and perplexity, between 1 and V; NaN if nothing was counted.
    """
    frequencies = counts.double() / counts.sum(-1, keepdim=True)
    perplexity = torch.special.entr(frequencies).sum(-1).exp()
    usage = torch.where(frequencies.isnan(), frequencies, (counts > 0).double()).mean()
    return float(usage), float(perplexity.mean())


class Quantizer(nn.Module):
    r"""A guide that gives every slot of a grid the code nearest to its features.

    .. math:: q(z \mid x) = \prod_m \big[z_m = \operatorname{argmin}_v \lVert h_m(x) - e_v \rVert\big]

    A subclass has the code vectors, ``codebook``.

    Args:
        network: Module that maps ``[*lead, *X]`` to a grid of vectors, ``[*lead, *S, d]``.
        num_codes: Number of codes, :math:`V`.
        out_shape: The shape ``[*S, d]`` of the grid; by default the network's ``out_shape``.
        num_groups: Number of codebooks G of a product: each codes its own ``d / G`` features of every vector, and codes are ``[*S, G]``.
        commitment: Weight of the squared distance between features and code vectors, a penalty in nats.
        pass_gradient: How code vectors get the features' gradient, :func:`straight_through` or :func:`rotated`.

    Returns:
        On call with data: a point mass on codes, int64, with batch shape ``[*lead]`` and event shape ``code_shape``.

    Raises:
        ValueError: If a size is wrong, or (on call) the network's output is not finite or has another shape.
    """

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
        """Shape of the codes of one datum: ``[*S]``, or ``[*S, G]`` of a product."""
        return self.out_shape[:-1] + ((self.num_groups,) if self.num_groups > 1 else ())

    def features(self, x: Tensor) -> Tensor:
        """What is rounded, ``[*lead, *S, d]``."""
        h = self.network(x)
        if h.shape[h.dim() - len(self.out_shape) :] != self.out_shape:
            expected = ", ".join(map(str, self.out_shape))
            raise ValueError(
                f"network must return a grid of vectors, [*lead, {expected}]; got {tuple(h.shape)}. Change its last layer, or out_shape."
            )
        if is_validation_enabled() and not h.isfinite().all():  # a nearest code there is even of NaN
            raise ValueError("network must return finite vectors; got NaN or infinite values. Look for NaN in its parameters.")
        return h

    def forward(self, x: Tensor) -> TorchDistribution:
        return dist.Delta(self.nearest(self.features(x)), event_dim=len(self.code_shape))

    def nearest(self, features: Tensor) -> Tensor:
        """The nearest codes, ``[*lead, *code_shape]``, of features ``[*lead, *S, d]``."""
        return self._relative_distances(features).argmin(-1)

    def distances(self, features: Tensor) -> Tensor:
        """Squared distances of features ``[*lead, *S, d]`` to all code vectors, ``[*lead, *code_shape, V]``."""
        squares = self._grouped(features).square().sum(-1, keepdim=True)
        return (self._relative_distances(features) + squares).clamp_min(0.0)

    def vectors(self, codes: Tensor) -> Tensor:
        """The code vectors, ``[*lead, *S, d]``, of codes ``[*lead, *code_shape]``."""
        if self.num_groups == 1:
            return F.embedding(codes, self.codebook[0])
        return F.embedding(codes + self.offsets, self.codebook.flatten(0, 1)).flatten(-2)

    def code_prior(self, prior: TorchDistribution) -> TorchDistribution:
        """The prior, of codes in the form in which this guide draws them: indices."""
        return prior

    def steer(self, x: Tensor, codes: Tensor, vectors: Tensor) -> Tensor:
        """The code vectors with a gradient for the features of x; declares the penalties of training, and notes the codes in use."""
        h = self.features(x)
        if self.training:
            self.observe(h.detach(), codes)
        penalty("codes", self.cost(h, vectors).flatten(-len(self.out_shape)).sum(-1))
        return self.pass_gradient(h, vectors)

    def cost(self, features: Tensor, vectors: Tensor) -> Tensor:
        r"""The commitment :math:`\beta (h - \operatorname{sg}(e))^2`, ``[*lead, *S, d]``."""
        return self.commitment * (features - vectors.detach()).square()

    def observe(self, features: Tensor, codes: Tensor) -> None:
        """Notes the codes of a training batch."""
        flat = (codes + self.offsets).flatten() if self.num_groups > 1 else codes.flatten()
        self.batch_counts.view(-1).index_add_(0, flat, torch.ones_like(flat, dtype=self.batch_counts.dtype))

    @torch.no_grad()
    def after_step(self) -> None:
        """What follows an optimizer's step: the batch's counts become part of the epoch's."""
        self.epoch_counts += self.batch_counts
        self.batch_counts.zero_()

    @torch.no_grad()
    def epoch_statistics(self) -> dict[str, float]:
        """The use of the codes since the last call, ``code_usage`` and ``code_perplexity``; see :func:`code_use`."""
        usage, perplexity = code_use(self.epoch_counts)
        self.epoch_counts.zero_()
        return {"code_usage": usage, "code_perplexity": perplexity}

    def _grouped(self, features: Tensor) -> Tensor:
        """Features as ``[*lead, *code_shape, d / G]``."""
        return features if self.num_groups == 1 else features.unflatten(-1, (self.num_groups, -1))

    def _relative_distances(self, features: Tensor) -> Tensor:
        """Squared distances but for the square of the features, ``[*lead, *code_shape, V]``."""
        codebook = self.codebook  # [G, V, d / G]
        norms = codebook.square().sum(-1)  # [G, V]
        if self.num_groups == 1:
            return norms[0] - 2 * features @ codebook[0].T
        return norms - 2 * (self._grouped(features)[..., None, :] @ codebook.mT).squeeze(-2)


class VectorQuantizer(Quantizer):
    r"""Codes by a learned codebook, moved by running averages or by gradient.

    .. math:: N_v \leftarrow \gamma N_v + (1 - \gamma) n_v, \quad m_v \leftarrow \gamma m_v + (1 - \gamma) \sum_{i: z_i = v} h_i, \quad
        e_v = m_v / N_v

    over the features :math:`h_i` of a batch, of which :math:`n_v` have the code v; N is smoothed by :math:`10^{-5}`. Without decay the code vectors
    are parameters, with the penalty :math:`\lVert \operatorname{sg}(h) - e \rVert^2`. The averages are updated after an optimizer's step, by
    :meth:`after_step`, and never by evaluating; :func:`inference.fit` calls it.

    Args:
        network: Module that maps ``[*lead, *X]`` to a grid of vectors, ``[*lead, *S, d]``.
        num_codes: Number of codes, :math:`V`.
        decay: :math:`\gamma`; None trains the code vectors by gradient.
        restart_below: Codes used less than this share of the average use start anew at features of the last batch; 0 never does it.
        out_shape, num_groups, commitment, pass_gradient: As for :class:`Quantizer`.

    Returns:
        On call with data: a point mass on codes, int64, with batch shape ``[*lead]`` and event shape ``code_shape``.

    Raises:
        ValueError: If a size is wrong, or (on call) the network's output has another shape.

    References:
        van den Oord, Vinyals, Kavukcuoglu (2017), Neural Discrete Representation Learning, appendix A.1. https://arxiv.org/abs/1711.00937
    """

    def __init__(
        self,
        network: nn.Module,
        num_codes: int,
        *,
        decay: float | None = 0.99,
        restart_below: float = 0.03,
        out_shape: Sequence[int] | None = None,
        num_groups: int = 1,
        commitment: float = 0.25,
        pass_gradient: PassGradient = straight_through,
    ) -> None:
        options = {"out_shape": out_shape, "num_groups": num_groups, "commitment": commitment, "pass_gradient": pass_gradient}
        super().__init__(network, num_codes, **options)
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, or None; got {decay}. Leave it out for 0.99.")
        if not 0 <= restart_below < 1:
            raise ValueError(f"restart_below must be at least 0 and below 1; got {restart_below}. It is a share of the average use.")
        self.decay, self.restart_below = decay, restart_below
        start = torch.randn(num_groups, num_codes, self.out_shape[-1] // num_groups)
        if decay is None:
            self.weight = nn.Parameter(start)
        else:
            self.register_buffer("weight", start)
            self.register_buffer("sums", start.clone())
        self.register_buffer("counts", torch.ones(num_groups, num_codes))
        self.register_buffer("batch_sums", torch.zeros_like(start), persistent=False)
        self.register_buffer("recent", torch.zeros_like(start), persistent=False)

    @property
    def codebook(self) -> Tensor:
        return self.weight

    def cost(self, features: Tensor, vectors: Tensor) -> Tensor:
        commitment = super().cost(features, vectors)
        return commitment if self.decay is not None else commitment + (features.detach() - vectors).square()

    def observe(self, features: Tensor, codes: Tensor) -> None:
        super().observe(features, codes)
        h = self._grouped(features.expand(*codes.shape[: codes.dim() - len(self.code_shape)], *self.out_shape))
        h = h.reshape(-1, self.num_groups, self.weight.shape[-1]).transpose(0, 1)  # [G, N, d / G]
        flat = codes.reshape(-1, self.num_groups).T + self.offsets[:, None]  # [G, N]
        self.batch_sums.flatten(0, 1).index_add_(0, flat.flatten(), h.flatten(0, 1))
        rows = torch.arange(self.num_codes, device=h.device) * h.shape[1] // self.num_codes
        self.recent.copy_(h[:, rows])  # of all of the batch, evenly

    @torch.no_grad()
    def after_step(self) -> None:
        """What follows an optimizer's step: running averages are updated, dead codes start anew."""
        if not self.batch_counts.any():
            return
        decay = 0.99 if self.decay is None else self.decay
        self.counts.lerp_(self.batch_counts, 1 - decay)
        if self.decay is not None:
            self.sums.lerp_(self.batch_sums, 1 - decay)
            self.weight.copy_(self.sums / _smoothed(self.counts)[..., None])
        self.batch_sums.zero_()
        super().after_step()
        self._restart()

    @torch.no_grad()
    def start_(self, x: Tensor, *, seed: int = 0) -> None:
        """Starts the codebook at the centers that k-means finds among the features of some data.

        Args:
            x: Data ``[N, *X]``, such as a few thousand of the training data.
            seed: Seed of k-means.

        Raises:
            ValueError: If the data give fewer vectors than there are codes.
        """
        parts = self._grouped(self.features(x)).reshape(-1, self.num_groups, self.weight.shape[-1])  # [N, G, d / G]
        if len(parts) < self.num_codes:
            raise ValueError(f"k-means needs at least {self.num_codes} vectors, one for each code; got {len(parts)}. Give more data.")
        parts = parts[torch.linspace(0, len(parts) - 1, min(len(parts), _MOST_VECTORS)).long()]
        for g in range(self.num_groups):
            centers, sizes = _k_means(parts[:, g], self.num_codes, seed)
            self.weight[g], self.counts[g] = centers, sizes / sizes.mean()
        if self.decay is not None:
            self.sums.copy_(self.weight * self.counts[..., None])

    def _restart(self) -> None:
        usual = self.counts.mean(-1)  # [G]
        g, v = (self.counts < self.restart_below * usual[:, None]).nonzero(as_tuple=True)
        if len(g) == 0:
            return
        self.weight[g, v] = self.recent[g, torch.randint(self.num_codes, g.shape, device=g.device)]
        self.counts[g, v] = usual[g]
        if self.decay is not None:
            self.sums[g, v] = self.weight[g, v] * usual[g, None]


def _smoothed(counts: Tensor) -> Tensor:
    total = counts.sum(-1, keepdim=True)
    return (counts + _SMOOTHING) / (total + counts.shape[-1] * _SMOOTHING) * total


def _k_means(vectors: Tensor, num_codes: int, seed: int) -> tuple[Tensor, Tensor]:
    from sklearn.cluster import MiniBatchKMeans

    fitted = MiniBatchKMeans(num_codes, batch_size=4096, n_init=1, random_state=seed).fit(vectors.cpu().numpy())
    sizes = torch.from_numpy(fitted.labels_).long().bincount(minlength=num_codes)
    return torch.from_numpy(fitted.cluster_centers_).to(vectors), sizes.to(vectors)


def _checked_shape(shape: Sequence[int] | None) -> Size:
    if shape is None or len(shape) < 2 or min(shape) < 1:
        got = None if shape is None else tuple(shape)
        raise ValueError(
            f"out_shape must be the shape of a grid of vectors, (*S, d) with at least one slot; got {got}. Use a network with such an out_shape, "
            "such as MLP(784, (300,), (16, 8)), or give out_shape."
        )
    return Size(shape)


def _check_sizes(num_codes: int, num_groups: int, vector_dim: int, commitment: float) -> None:
    if num_codes < 2:
        raise ValueError(f"a codebook must hold at least 2 codes; got {num_codes}. One code tells nothing.")
    if num_groups < 1 or vector_dim % num_groups:
        raise ValueError(f"num_groups must divide the {vector_dim} features of a vector; got {num_groups}. Each codebook codes an equal part.")
    if not (math.isfinite(commitment) and commitment >= 0):
        raise ValueError(f"commitment must be at least 0 and finite; got {commitment}. Leave it out for 0.25.")
