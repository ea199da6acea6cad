"""Base class of networks from tensors ``[*lead, *in_shape]`` to tensors ``[*lead, *out_shape]``, and a network of two inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Size, Tensor, nn

Shape = int | Sequence[int]
MakeNetwork = Callable[[Shape, Shape, Shape], nn.Module]  # takes the shape of an input, hidden widths and the shape of an output


class Network(nn.Module):
    r"""Network that applies ``layers`` to every input, with the leading dimensions flattened into one.

    Args:
        layers: Module that maps ``[N, *layer_shape]`` to ``[N, ...]``, each row with as many elements as ``out_shape``.
        in_shape: Shape of one input.
        layer_shape: Shape in which ``layers`` takes one input.
        out_shape: Shape of one output.

    Returns:
        On call with ``[*lead, *in_shape]``: a tensor ``[*lead, *out_shape]``.

    Raises:
        ValueError: If an input does not end in ``in_shape``.
    """

    def __init__(self, layers: nn.Module, in_shape: Shape, layer_shape: Shape, out_shape: Shape) -> None:
        super().__init__()
        self.layers = layers
        self.in_shape = as_shape(in_shape, "in_shape")
        self.layer_shape = as_shape(layer_shape, "layer_shape")
        self.out_shape = as_shape(out_shape, "out_shape")

    def forward(self, x: Tensor) -> Tensor:
        lead = self._lead_shape(x)
        y = self.layers(_reshaped(x, (lead.numel(), *self.layer_shape)))  # [N, ...]
        return _reshaped(y, lead + self.out_shape)  # [*lead, *out_shape]

    def _lead_shape(self, x: Tensor) -> Size:
        num_lead = x.dim() - len(self.in_shape)
        if num_lead < 0 or x.shape[num_lead:] != self.in_shape:
            name, expected = type(self).__name__, ", ".join(map(str, self.in_shape))
            raise ValueError(
                f"{name} expects an input of shape [*lead, {expected}]; got {tuple(x.shape)}. "
                f"Reshape the input, or build the {name} for inputs of this shape."
            )
        return x.shape[:num_lead]


class Join(nn.Module):
    r"""Network of two or more inputs: the first passes through its own network, and the others through another one.

    .. math:: y = f([g_1(a), g_2(b, \dots)])

    Leading dimensions are broadcast after :math:`g_1` and :math:`g_2`, so that features of a datum are computed once, not for each draw.

    Args:
        first: :math:`g_1`; by default the identity.
        second: :math:`g_2`; by default the identity.
        network: :math:`f`; by default the identity.
        event_dims: Number of dimensions of the features: 1, or 3 for images, which are joined along their channels.

    Returns:
        On call with ``[*lead, *A]`` and ``[*lead, *B]``: the output of :math:`f` for features ``[*lead, F]`` or ``[*lead, F, H, W]``.
        Inputs after the second also go to :math:`g_2`, which must then take as many.
    """

    def __init__(
        self,
        first: nn.Module | None = None,
        second: nn.Module | None = None,
        network: nn.Module | None = None,
        *,
        event_dims: int = 1,
    ) -> None:
        super().__init__()
        self.first, self.second, self.network = first or nn.Identity(), second or nn.Identity(), network or nn.Identity()
        self.event_dims = event_dims

    @property
    def out_shape(self) -> Size | None:
        """Shape of one output, if :math:`f` knows it."""
        return getattr(self.network, "out_shape", None)

    def forward(self, a: Tensor, *others: Tensor) -> Tensor:
        features = self.first(a), self.second(*others)
        lead = torch.broadcast_shapes(*(t.shape[: -self.event_dims] for t in features))
        expanded = [t.expand(*lead, *t.shape[-self.event_dims :]) for t in features]
        return self.network(torch.cat(expanded, -self.event_dims))


def as_shape(shape: Shape, name: str) -> Size:
    sizes = Size([shape] if isinstance(shape, int) else shape)
    if any(size < 1 for size in sizes):
        raise ValueError(f"{name} must hold positive sizes; got {shape}.")
    return sizes


def _reshaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Reshape a tensor that has another shape; a needless view would cost an eager step two operations."""
    return x if x.shape == shape else x.reshape(shape)
