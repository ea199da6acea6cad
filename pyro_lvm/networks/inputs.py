"""Layers that prepare data that are not between 0 and 1, labels, covariates and offsets for a network."""

from collections.abc import Sequence

import torch
from torch import Size, Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from pyro_lvm.arrays import as_tensor
from pyro_lvm.checks import check_counts
from pyro_lvm.rows.lazy import computed

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


class LogCounts(Standardize):
    r"""Layer that centers and scales the logarithms of counts, so that a count of thousands is no outlier.

    .. math:: y_i = (\log(1 + x_i) - m_i) / s_i

    Args:
        train: Training data ``[N, *X]``, none below 0.

    Returns:
        On call with ``[*lead, *X]``: a tensor of the same shape, no entry of which is beyond 10 standard deviations.
    """

    def __init__(self, train: Tensor) -> None:
        super().__init__(computed(as_tensor(train, "train"), torch.log1p))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.log1p())


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


class LabelIndicators(nn.Module):
    r"""Layer that encodes labels 0 to V - 1 as indicators; a missing label, -1, has none.

    .. math:: y_v = [c = v]

    Args:
        num_labels: Number of different labels, V.

    Returns:
        On call with labels ``[*lead]``: a tensor ``[*lead, V]`` of the layer's dtype.

    Raises:
        ValueError: If ``num_labels`` is below 1, or (on call, unless it is traced) a label is another number.

    Example:
        >>> import torch
        >>> from pyro_lvm import LabelIndicators
        >>> LabelIndicators(3)(torch.tensor([2, -1]))
        tensor([[0., 0., 1.],
                [0., 0., 0.]])
    """

    values: Tensor

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        check_counts(num_labels=num_labels)
        self.num_labels = num_labels
        self.register_buffer("values", torch.arange(num_labels, dtype=torch.get_default_dtype()), persistent=False)

    def forward(self, labels: Tensor) -> Tensor:
        if get_proxy_mode() is None and not torch.compiler.is_compiling() and bool(((labels < -1) | (labels >= self.num_labels)).any()):
            raise ValueError(
                f"labels must be from 0 to {self.num_labels - 1}, or -1 where missing; got values from {labels.min().item():g} to "
                f"{labels.max().item():g}. Build the model for all labels."
            )
        return (labels[..., None] == self.values).to(self.values.dtype)


class Conditions(nn.Module):
    r"""Network of several inputs, each of which first passes through a layer of its own.

    .. math:: y = f([g_1(c_1), \dots, g_n(c_n)])

    Args:
        layers: One layer for each input, such as :class:`LabelIndicators` for labels and :class:`Standardize` for covariates.
        network: :math:`f`; by default the identity.

    Returns:
        On call with n inputs: the output of :math:`f` for features ``[*lead, F]``.

    Raises:
        ValueError: If (on call) there are more or fewer inputs than layers.
    """

    def __init__(self, layers: Sequence[nn.Module], network: nn.Module | None = None) -> None:
        super().__init__()
        self.layers, self.network = nn.ModuleList(layers), network or nn.Identity()

    def forward(self, *given: Tensor) -> Tensor:
        if len(given) != len(self.layers):
            raise ValueError(f"Conditions expects {len(self.layers)} inputs, one for each layer; got {len(given)}. Pass all of them.")
        features = [layer(each) for layer, each in zip(self.layers, given, strict=True)]
        lead = torch.broadcast_shapes(*(feature.shape[:-1] for feature in features))
        return self.network(torch.cat([feature.expand(*lead, -1) for feature in features], -1))


class Offset(nn.Module):
    r"""Network of log rates to which the logarithm of an exposure is added, so that rates are per unit of it.

    .. math:: \log \lambda = f(z, c_1, \dots, c_n) + \log c_k

    Args:
        network: f, with an ``out_shape``, which takes what is given after the latents.
        place: Which of what is given is the exposure, ``[*lead, 1]``, counted from 0; such as 0 for the first.

    Returns:
        On call with latents and what is given: log rates ``[*lead, *out_shape]``.

    Raises:
        ValueError: If (on call, unless it is traced) an exposure is not positive.
    """

    def __init__(self, network: nn.Module, place: int) -> None:
        super().__init__()
        self.network, self.place = network, place

    @property
    def out_shape(self) -> Size:
        """Shape of one output."""
        return self.network.out_shape  # type: ignore[return-value]  # not a module

    def forward(self, z: Tensor, *given: Tensor) -> Tensor:
        exposure = given[self.place][..., 0]  # [*lead]
        if get_proxy_mode() is None and not torch.compiler.is_compiling() and bool((exposure <= 0).any()):
            empty = int((exposure <= 0).sum())
            raise ValueError(f"an offset must be positive; got {empty} rows in which it is not. Leave out rows without counts.")
        return self.network(z, *given) + exposure.log().reshape(*exposure.shape, *[1] * len(self.out_shape))
