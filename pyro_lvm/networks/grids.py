"""Networks between data and grids of vectors: grids ``[*lead, H', W', d]`` for images, ``[*lead, T', d]`` for sequences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from pyro_lvm.networks.conv import OutputBias
from pyro_lvm.networks.network import Network, as_shape

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}


class GridEncoder(Network):
    r"""Encoder from an image to a grid of vectors, each of which sees its own patch of the image and the surroundings.

    The layers are strided convolutions (4x4) that each halve the image, one residual block, and an affine map of the channels at each
    location:

    .. math:: h_0 = x, \quad h_l = W_l * \sigma(h_{l-1}), \quad r = h_n + A * \sigma(B * \sigma(h_n)), \quad
        y_{ij} = C \sigma(r_{ij}) + c

    with :math:`\sigma` = ReLU (none before the first convolution), B of size 3x3, A of size 1x1, and a bias in each convolution.

    Args:
        in_shape: Shape of an image, ``(channels, height, width)`` or ``(height, width)``.
        channels: Channels after each convolution, in order from the image.
        vector_dim: Number of features of the vector at each location, d.

    Returns:
        On call with ``[*lead, *in_shape]``: a tensor ``[*lead, H', W', d]``, where H' and W' are H and W halved once for each
        entry of ``channels``.

    Raises:
        ValueError: If the image cannot be halved evenly this many times, a size is not positive, or an input does not end in
            ``in_shape``.

    References:
        van den Oord, Vinyals, Kavukcuoglu (2017), Neural Discrete Representation Learning. https://arxiv.org/abs/1711.00937
    """

    def __init__(self, in_shape: Sequence[int], channels: Sequence[int], vector_dim: int) -> None:
        in_shape = as_shape(in_shape, "in_shape")
        if len(in_shape) not in (2, 3):
            raise ValueError(
                f"in_shape must be (channels, height, width) or (height, width); got {tuple(in_shape)}. "
                "Give flat images their shape, e.g. with load_data(..., shape=(1, 28, 28))."
            )
        num_channels, *size = (1, *in_shape)[-3:]
        grid = _halved(size, channels, "in_shape")
        layers = _encoding((num_channels, *channels), vector_dim, num_dims=2)
        super().__init__(nn.Sequential(*layers), in_shape, (num_channels, *size), (*grid, vector_dim))


class GridDecoder(Network):
    r"""Decoder from a grid of vectors to an image, with the layers of :class:`GridEncoder` in reverse.

    The layers are an affine map of the vector at each location, one residual block, and transposed convolutions (4x4) that each double
    the image. The output bias has the shape of one output, so that it can hold a mean image; see
    :func:`~pyro_lvm.networks.initialize.set_output_bias_`.

    Args:
        in_shape: Shape of a grid, ``(H', W', d)``.
        channels: Channels before each transposed convolution, in order down to the image.
        out_shape: ``(channels, height, width)``, ``(height, width)``, or ``(channels, height, width, P)`` for ``P`` parameters
            of each element; height and width are H' and W' doubled once for each entry of ``channels``.

    Returns:
        On call with ``[*lead, H', W', d]``: a tensor ``[*lead, *out_shape]``.

    Raises:
        ValueError: If the grid does not fit the image, a size is not positive, or an input does not end in ``in_shape``.

    References:
        van den Oord, Vinyals, Kavukcuoglu (2017), Neural Discrete Representation Learning. https://arxiv.org/abs/1711.00937
    """

    def __init__(self, in_shape: Sequence[int], channels: Sequence[int], out_shape: Sequence[int]) -> None:
        out_shape = as_shape(out_shape, "out_shape")
        if len(out_shape) not in (2, 3, 4):
            raise ValueError(
                "out_shape must be (channels, height, width), (height, width) or (channels, height, width, parameters); "
                f"got {tuple(out_shape)}. Give the shape of an image."
            )
        num_channels, *size, num_params = (1, *out_shape, 1) if len(out_shape) == 2 else (*out_shape, 1)[:4]
        vector_dim = _checked_vector_dim(in_shape, size, channels)
        layers = _decoding(vector_dim, channels, (num_channels, *size, num_params))
        super().__init__(nn.Sequential(*layers), in_shape, in_shape, out_shape)


class SequenceEncoder(Network):
    r"""Encoder from a sequence of symbols to a shorter sequence of vectors: an embedding, then :class:`GridEncoder` in one dimension.

    Symbols are whole numbers from 0 to V - 1, of any data type. They are not checked here, but by a distribution whose values they are.

    Args:
        length: Number of symbols in a sequence, T.
        num_symbols: Number of different symbols, V.
        channels: Channels after each convolution of width 4, in order from the sequence; the first is also the width of the embedding.
        vector_dim: Number of features of the vector at each location, d.

    Returns:
        On call with ``[*lead, T]``: a tensor ``[*lead, T', d]``, where T' is T halved once for each entry of ``channels``.

    Raises:
        ValueError: If the length cannot be halved evenly this many times, a size is not positive, or an input does not end in T.
    """

    def __init__(self, length: int, num_symbols: int, channels: Sequence[int], vector_dim: int) -> None:
        (length,) = as_shape(length, "length")
        grid = _halved((length,), channels, "length")
        embedding = _Embedding(as_shape(num_symbols, "num_symbols").numel(), channels[0])
        layers = _encoding((channels[0], *channels), vector_dim, num_dims=1)
        super().__init__(nn.Sequential(embedding, *layers), length, length, (*grid, vector_dim))


class SequenceDecoder(Network):
    r"""Decoder from a sequence of vectors to logits of a longer sequence of symbols, with :class:`SequenceEncoder`'s layers in reverse.

    The output bias has the shape of one output; see :func:`~pyro_lvm.networks.initialize.set_output_bias_`.

    Args:
        in_shape: Shape of a sequence of vectors, ``(T', d)``.
        channels: Channels before each transposed convolution, in order down to the symbols.
        out_shape: ``(T, V)``: symbols in a sequence, T' doubled once for each entry of ``channels``, and the number of different symbols.

    Returns:
        On call with ``[*lead, T', d]``: logits ``[*lead, T, V]``, the parameters of a
        :class:`~pyro_lvm.likelihoods.categorical.CategoricalLikelihood`.

    Raises:
        ValueError: If the lengths do not match, a size is not positive, or an input does not end in ``in_shape``.
    """

    def __init__(self, in_shape: Sequence[int], channels: Sequence[int], out_shape: Sequence[int]) -> None:
        out_shape = as_shape(out_shape, "out_shape")
        if len(out_shape) != 2:
            raise ValueError(f"out_shape must be (length, num_symbols); got {tuple(out_shape)}. Give both numbers.")
        vector_dim = _checked_vector_dim(in_shape, out_shape[:1], channels)
        layers = _decoding(vector_dim, channels, (1, *out_shape))
        super().__init__(nn.Sequential(*layers), in_shape, in_shape, out_shape)


class _Embedding(nn.Embedding):
    """Embedding of symbols ``[N, T]``, of any data type, as ``[N, channels, T]``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.long()).movedim(-1, 1)


class _Residual(nn.Module):
    r"""Residual connection, :math:`y = x + f(x)`."""

    def __init__(self, correction: nn.Module) -> None:
        super().__init__()
        self.correction = correction

    def forward(self, x: Tensor) -> Tensor:
        return x + self.correction(x)


class _MoveDim(nn.Module):
    def __init__(self, source: int, destination: int) -> None:
        super().__init__()
        self.source, self.destination = source, destination

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(self.source, self.destination)


def _encoding(widths: Sequence[int], vector_dim: int, *, num_dims: int) -> list[nn.Module]:
    first, *others = [CONVOLUTIONS[num_dims](n, m, 4, stride=2, padding=1) for n, m in pairwise(widths)]
    halving = [first, *(part for layer in others for part in (nn.ReLU(), layer))]
    # A linear layer on the last dimension is a convolution of width 1, and leaves the vectors contiguous.
    affine = nn.Linear(widths[-1], as_shape(vector_dim, "vector_dim").numel())
    return [*halving, _residual_block(widths[-1], num_dims), nn.ReLU(), _MoveDim(1, -1), affine]


def _decoding(vector_dim: int, channels: Sequence[int], bias_shape: Sequence[int]) -> list[nn.Module]:
    num_channels, *size, num_params = bias_shape
    widths = (*channels, num_channels * num_params)
    doubling = [TRANSPOSED[len(size)](n, m, 4, stride=2, padding=1) for n, m in pairwise(widths)]
    doubling[-1].register_parameter("bias", None)  # OutputBias adds the only bias
    affine = [nn.Linear(vector_dim, widths[0]), _MoveDim(-1, 1), _residual_block(widths[0], len(size))]
    return [*affine, *(part for layer in doubling for part in (nn.ReLU(), layer)), OutputBias(bias_shape)]


def _residual_block(width: int, num_dims: int) -> _Residual:
    convolution = CONVOLUTIONS[num_dims]
    correction = (nn.ReLU(), convolution(width, width, 3, padding=1), nn.ReLU(), convolution(width, width, 1))
    return _Residual(nn.Sequential(*correction))


def _halved(size: Sequence[int], channels: Sequence[int], name: str) -> tuple[int, ...]:
    r"""Halve ``size`` once for each entry of ``channels``; raise an error if it cannot be halved evenly."""
    n = len(as_shape(channels, "channels"))
    if n == 0:
        raise ValueError("channels must have at least one entry, the channels of one convolution; got none. Add one.")
    if any(length % 2**n for length in size):
        padded = " by ".join(str(-(-length // 2**n) * 2**n) for length in size)
        raise ValueError(
            f"{name} must fit a grid: {n} entries of channels halve it {n} times, so each size must be a multiple of {2**n}; "
            f"got {' by '.join(map(str, size))}. Give fewer channels, or pad the data to {padded}."
        )
    return tuple(length // 2**n for length in size)


def _checked_vector_dim(in_shape: Sequence[int], size: Sequence[int], channels: Sequence[int]) -> int:
    r"""Return d of the grid ``in_shape``; raise an error if ``channels`` do not double its size to ``size``."""
    grid = _halved(size, channels, "out_shape")
    if len(in_shape) != len(grid) + 1 or tuple(in_shape[:-1]) != grid:
        expected = ", ".join(map(str, grid))
        raise ValueError(
            f"in_shape must be ({expected}, d), because {len(channels)} entries of channels double such a grid to "
            f"{' by '.join(map(str, size))}; got {tuple(in_shape)}. Build the decoder with the encoder's out_shape and number of channels."
        )
    return as_shape(in_shape, "in_shape")[-1]
