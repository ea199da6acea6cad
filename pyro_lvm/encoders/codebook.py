"""Guide of discrete codes with a learned codebook."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_lvm.checks import SKLEARN_SEEDS, warn_caller
from pyro_lvm.encoders.gradients import PassGradient, straight_through
from pyro_lvm.encoders.quantizer import Quantizer

_MOST_WAITING = 100  # training batches without an update of the running averages

_SMOOTHING = 1e-5  # of the counts of codes
_MOST_VECTORS = 20_000  # given to k-means


class VectorQuantizer(Quantizer):
    r"""Quantizer with a learned codebook, trained by running averages or by gradient.

    .. math:: N_v \leftarrow \gamma N_v + (1 - \gamma) n_v, \quad m_v \leftarrow \gamma m_v + (1 - \gamma) \sum_{i: z_i = v} h_i, \quad
        e_v = m_v / N_v

    over the features :math:`h_i` of a batch, :math:`n_v` of which have the code v; N is smoothed by :math:`10^{-5}`. Without decay, the
    code vectors are parameters, with the penalty :math:`\lVert \operatorname{sg}(h) - e \rVert^2`, and N, which tells the codes to restart,
    is averaged with :math:`\gamma = 0.99`. The averages are updated by
    :meth:`after_step`, which :func:`inference.fit` calls after an optimizer's step, and never by an evaluation.

    Args:
        network: Module that maps ``[*lead, *X]`` to a grid of vectors, ``[*lead, *S, d]``.
        num_codes: Number of codes, :math:`V`.
        decay: :math:`\gamma`; None trains the code vectors by gradient.
        restart_below: Codes used less than this share of the average use are restarted at features of the last batch; 0 disables this.
        out_shape, num_groups, commitment, pass_gradient: As for :class:`Quantizer`.

    Returns:
        On call with data: a point mass on codes, int64, with batch shape ``[*lead]`` and event shape ``code_shape``.

    Raises:
        ValueError: If a size is wrong, or (on call) the network's output has the wrong shape.

    References:
        van den Oord, Vinyals, Kavukcuoglu (2017), Neural Discrete Representation Learning, appendix A.1. https://arxiv.org/abs/1711.00937
    """

    weight: Tensor
    sums: Tensor
    counts: Tensor
    batch_sums: Tensor
    recent: Tensor

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
        super().__init__(network, num_codes, out_shape=out_shape, num_groups=num_groups, commitment=commitment, pass_gradient=pass_gradient)
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, or None; got {decay}. Leave it out for 0.99.")
        if not 0 <= restart_below < 1:
            raise ValueError(f"restart_below must be at least 0 and below 1; got {restart_below}. It is a share of the average use.")
        self.decay, self.restart_below, self.waiting = decay, restart_below, 0
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
        self.waiting += 1
        if self.decay is not None and self.waiting == _MOST_WAITING:
            warn_caller(
                f"the codebook has seen {_MOST_WAITING} training batches without an update: its averages move only in after_step(). "
                "Call it after every step of the optimizer, as fit does, or set decay=None to train the codebook by gradients."
            )
        h = self._grouped(features.expand(*codes.shape[: codes.dim() - len(self.code_shape)], *self.out_shape))
        h = h.reshape(-1, self.num_groups, self.weight.shape[-1]).transpose(0, 1)  # [G, N, d / G]
        flat = codes.reshape(-1, self.num_groups).T + self.offsets[:, None]  # [G, N]
        self.batch_sums.flatten(0, 1).index_add_(0, flat.flatten(), h.flatten(0, 1))
        rows = torch.arange(self.num_codes, device=h.device) * h.shape[1] // self.num_codes
        self.recent.copy_(h[:, rows])  # evenly spaced over the batch

    @torch.no_grad()
    def after_step(self) -> None:
        """Update the running averages and restart dead codes after an optimizer's step."""
        self.waiting = 0
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
        """Initialize the codebook at the centers that k-means finds in the features of some data.

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

    fitted = MiniBatchKMeans(num_codes, batch_size=4096, n_init=1, random_state=seed % SKLEARN_SEEDS).fit(vectors.cpu().numpy())
    sizes = torch.from_numpy(fitted.labels_).long().bincount(minlength=num_codes)
    return torch.from_numpy(fitted.cluster_centers_).to(vectors), sizes.to(vectors)
