"""Input layers that prepare data that are not between 0 and 1 for an encoder's network."""

import torch
from torch import Tensor, nn

from pyro_lvm.arrays import as_tensor

LARGEST_INPUT = 10.0


class Standardize(nn.Module):
    r"""Layer that centers and scales each feature by its training data and clamps it to 10 standard deviations.

    .. math:: y_i = (x_i - m_i) / s_i

    Args:
        train: Training data ``[N, *X]``, a tensor, an array or a table; a constant feature is only centered.

    Returns:
        On call with ``[*lead, *X]``: a tensor of the same shape.

    Example:
        >>> import torch
        >>> from pyro_lvm import MLP, NormalEncoder, Standardize
        >>> images = torch.randint(256, (100, 64))
        >>> encoder = NormalEncoder(torch.nn.Sequential(Standardize(images), MLP(64, [32], 8)))
        >>> encoder(images[:5]).event_shape
        torch.Size([4])
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, train: Tensor) -> None:
        super().__init__()
        train = as_tensor(train, "train")
        train = train if train.is_floating_point() else train.to(torch.get_default_dtype())
        scale = train.std(0)
        self.register_buffer("loc", train.mean(0))
        self.register_buffer("scale", torch.where(scale > 0, scale, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.loc) / self.scale).clamp(-LARGEST_INPUT, LARGEST_INPUT)


class OneHot(nn.Module):
    r"""Layer that encodes codes 0 to V - 1 as indicators, with one channel for each code.

    .. math:: y_{vi} = [x_i = v]

    Args:
        num_categories: Number of different codes, V.
        num_dims: Number of dimensions of X.

    Returns:
        On call with ``[*lead, *X]``: a tensor ``[*lead, V * X[0], *X[1:]]``.
    """

    def __init__(self, num_categories: int, num_dims: int) -> None:
        super().__init__()
        self.num_categories, self.num_dims = num_categories, num_dims

    def forward(self, x: Tensor) -> Tensor:
        indicators = nn.functional.one_hot(x.long(), self.num_categories).to(x.dtype)  # [*lead, *X, V]
        first = -self.num_dims
        return indicators.movedim(-1, first - 1).flatten(first - 1, first)  # [*lead, V * X[0], *X[1:]]
