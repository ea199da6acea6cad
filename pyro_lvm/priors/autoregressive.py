"""Autoregressive priors of discrete codes: modules whose call returns a distribution of slots in raster order."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from pyro_lvm.checks import check_counts
from pyro_lvm.distributions.codes import AutoregressiveCodes
from pyro_lvm.priors.codes import CodePrior

_FIRST_REACH = 3  # the part of a 7 by 7 kernel that precedes the slot
_EMBEDDING_SCALE = 0.02


class _AutoregressivePrior(CodePrior):
    """Base class of priors whose network computes the logits of every slot from the slots before it, in one pass."""

    def __init__(self, shape: Sequence[int], num_codes: int, width: int) -> None:
        super().__init__(shape, num_codes)
        self.embedding = nn.Embedding(num_codes, width)

    def forward(self) -> AutoregressiveCodes:
        return AutoregressiveCodes(self.logits, self.shape, self.num_codes, device=self.embedding.weight.device)

    def logits(self, z: Tensor) -> Tensor:
        r"""Return the logits of every slot's code, given the slots before it.

        Args:
            z: Codes, shape ``[*lead, *S]``.

        Returns:
            Logits, shape ``[*lead, *S, V]``.

        Raises:
            ValueError: If the codes do not end in ``S``.
        """
        num_lead = z.dim() - len(self.shape)
        if num_lead < 0 or z.shape[num_lead:] != self.shape:
            raise ValueError(
                f"{type(self).__name__} expects codes of shape [*lead, {', '.join(map(str, self.shape))}]; got {tuple(z.shape)}. "
                "Reshape the codes, or build the prior for slots of this shape."
            )
        lead = z.shape[:num_lead]
        return self._logits(z.reshape(lead.numel(), *self.shape)).reshape(*lead, *self.shape, self.num_codes)

    def _logits(self, z: Tensor) -> Tensor:
        """Return logits ``[N, ..., V]``, slots in raster order, of codes ``[N, *S]``."""
        raise NotImplementedError


class PixelCNNPrior(_AutoregressivePrior):
    r"""Autoregressive prior of grids of codes, with gated masked convolutions.

    .. math:: p(z) = \prod_{m=1}^{HW} p(z_m \mid z_{<m})

    in raster order. One stack of convolutions sees the rows above the slot; the other also sees the slot's own row up to its left
    neighbour, so that there is no blind spot. A slot sees ``3 + layers`` rows above it and the same number of columns on either side:
    with 4 layers, all preceding slots of an 8 by 8 grid.

    Args:
        shape: Height and width of the grid, ``(H, W)``.
        num_codes: Number of codes, :math:`V`.
        channels: Channels of each stack.
        layers: Number of residual gated layers after the first, masked one.

    Raises:
        ValueError: If the shape is not that of a grid, a size is below 1, or there are fewer than two codes.

    References:
        van den Oord et al. (2016), Conditional Image Generation with PixelCNN Decoders. https://arxiv.org/abs/1606.05328
    """

    def __init__(self, shape: Sequence[int], num_codes: int, *, channels: int = 64, layers: int = 4) -> None:
        check_counts(channels=channels, layers=layers)
        if len(shape) != 2:
            raise ValueError(f"shape must be (height, width); got {tuple(shape)}. Use TransformerPrior for slots of another shape.")
        super().__init__(shape, num_codes, channels)
        self.first = _GatedConv(channels, _FIRST_REACH, sees_itself=False)
        self.layers = nn.ModuleList(_GatedConv(channels, 1, sees_itself=True) for _ in range(layers))
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), _near_uniform(channels, num_codes))

    def _logits(self, z: Tensor) -> Tensor:
        codes = self.embedding(z).movedim(-1, 1)  # [N, channels, H, W]
        above, left = self.first(codes, codes)
        for layer in self.layers:
            above, change = layer(above, left)
            left = left + change
        return self.head(left.movedim(1, -1))  # [N, H, W, V]


class _GatedConv(nn.Module):
    """Two gated convolutions that only look back: over the rows up to the slot's row, and along that row up to the slot.

    No weight is masked. Instead, the input is shifted under the kernel: it is padded in front, and the slot itself is cut off if
    ``sees_itself`` is false. What comes from above is then already free of the slot's own row.
    """

    def __init__(self, channels: int, reach: int, *, sees_itself: bool) -> None:
        super().__init__()
        length = reach + sees_itself
        self.padding = reach, sees_itself - 1  # before and after; -1 cuts off the slot itself
        self.vertical = nn.Conv2d(channels, 2 * channels, (length, 2 * reach + 1), padding=(0, reach))
        self.horizontal = nn.Conv2d(channels, 2 * channels, (1, length))
        self.link = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.mix = nn.Conv2d(channels, channels, 1)
        for convolution in (self.vertical, self.horizontal, self.link, self.mix):
            # Torch's default initialization is narrower: signals would shrink from gate to gate, and training would start slowly.
            nn.init.normal_(convolution.weight, std=convolution.weight[0].numel() ** -0.5)

    def forward(self, above: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        above = self.vertical(F.pad(above, (0, 0, *self.padding)))  # [N, 2 channels, H, W]
        left = self.horizontal(F.pad(left, self.padding)) + self.link(above)
        return _gated(above), self.mix(_gated(left))


class TransformerPrior(_AutoregressivePrior):
    r"""Autoregressive prior of sequences, grids or sets of codes, with causal attention.

    .. math:: p(z) = \prod_{m=1}^M p(z_m \mid z_{<m})

    in raster order; every slot sees all slots before it.

    Args:
        shape: Shape of the slots, :math:`S`.
        num_codes: Number of codes, :math:`V`.
        width: Number of features of a slot; a multiple of ``heads``.
        depth: Number of blocks of attention and perceptron.
        heads: Number of attention heads.

    Raises:
        ValueError: If there is no slot dimension, a size is below 1, there are fewer than two codes, or the heads do not divide the width.

    References:
        Vaswani et al. (2017), Attention Is All You Need. https://arxiv.org/abs/1706.03762
    """

    def __init__(self, shape: Sequence[int], num_codes: int, *, width: int = 128, depth: int = 2, heads: int = 4) -> None:
        check_counts(width=width, depth=depth, heads=heads)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads; got width={width} and heads={heads}. Change one of them.")
        super().__init__(shape, num_codes, width)
        # At torch's scale of 1, embeddings would drown out what the blocks add, and training would take longer.
        nn.init.normal_(self.embedding.weight, std=_EMBEDDING_SCALE)
        self.positions = nn.Parameter(_EMBEDDING_SCALE * torch.randn(self.shape.numel(), width))
        self.blocks = nn.Sequential(*(_AttentionBlock(width, heads) for _ in range(depth)))
        self.head = nn.Sequential(nn.LayerNorm(width), _near_uniform(width, num_codes))

    def _logits(self, z: Tensor) -> Tensor:
        before = self.embedding(z.flatten(1)[:, :-1])  # [N, M - 1, width]
        # Zeros take the place of the code before the first slot.
        return self.head(self.blocks(F.pad(before, (0, 0, 1, 0)) + self.positions))  # [N, M, V]


class _AttentionBlock(nn.Module):
    """Causal attention, then a perceptron, each applied to normalized features and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.perceptron_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projections, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix(self._attention(self.attention_norm(x)))
        return x + self.perceptron(self.perceptron_norm(x))

    def _attention(self, x: Tensor) -> Tensor:
        parts = self.projections(x).unflatten(-1, (3, self.heads, x.shape[-1] // self.heads))
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind()  # each [N, heads, M, width / heads]
        return F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).flatten(2)


def _gated(x: Tensor) -> Tensor:
    feature, gate = x.chunk(2, 1)
    return feature.tanh() * gate.sigmoid()


def _near_uniform(in_features: int, num_codes: int) -> nn.Linear:
    """Return a last layer whose logits are initially small, so that all codes are almost equally likely."""
    layer = nn.Linear(in_features, num_codes)
    nn.init.normal_(layer.weight, std=0.1 / in_features**0.5)
    nn.init.zeros_(layer.bias)
    return layer
