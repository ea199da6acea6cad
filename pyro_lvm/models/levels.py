"""Levels of a hierarchy, between the top prior and the likelihood: how each level depends on those above it."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from pyro_lvm.checks import check_counts
from pyro_lvm.encoders.normal import NormalEncoder, ResidualNormalEncoder
from pyro_lvm.networks.conv import doubling, halvings
from pyro_lvm.networks.mlp import MLP
from pyro_lvm.networks.network import Join, MakeNetwork, Network, Shape


class Levels(nn.Module):
    r"""Levels of a hierarchy of latents, as sequences from the top down.

    .. math:: h_L = f_L(z_L), \quad h_l = f_l(h_{l+1}, z_l), \quad
        p(z_{<L} \mid z_L) = \prod_{l<L} p(z_l \mid h_{l+1}), \quad
        q(z \mid x) = q(z_L \mid e_L) \prod_{l<L} q(z_l \mid e_l, h_{l+1})

    with features :math:`e_l` of x and states :math:`h_l`: the levels below and the likelihood depend on
    :math:`z_l, \dots, z_L` only through :math:`h_l`.

    Args:
        encoders: L modules; the first maps :math:`e_L` to :math:`q(z_L \mid x)`, each other maps :math:`e_l` and
            :math:`h_{l+1}` to :math:`q(z_l \mid x, z_{>l})`.
        conditionals: L - 1 modules that map :math:`h_{l+1}` to :math:`p(z_l \mid z_{>l})`.
        path: L modules :math:`f_l`; by default, h is the concatenation of all latents so far.
        bottom_up: Module that maps x to :math:`e_L, \dots, e_1`; by default, each is x.

    Raises:
        ValueError: If there are fewer than two levels, or the lengths of the sequences do not match.
    """

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        conditionals: Sequence[nn.Module],
        *,
        path: Sequence[nn.Module] | None = None,
        bottom_up: nn.Module | None = None,
    ) -> None:
        super().__init__()
        L = len(encoders)
        check_counts(2, levels=L)
        path = [nn.Identity(), *(Join() for _ in conditionals)] if path is None else path
        for name, modules, expected in (("conditionals", conditionals, L - 1), ("path", path, L)):
            if len(modules) != expected:
                raise ValueError(f"{name} must have {expected} modules for {L} encoders; got {len(modules)}. Give one for each level.")
        self.encoders, self.conditionals, self.path = map(nn.ModuleList, (encoders, conditionals, path))
        self.bottom_up = bottom_up or _Same(L)

    def top(self) -> nn.Module:
        """Return the encoder from x to the top level, as a :class:`~pyro_lvm.priors.vamp.VampPrior` needs it; its parts are shared."""
        return _TopEncoder(self.bottom_up, self.encoders[0])


def stacked(
    in_shape: Shape,
    latent_dims: Sequence[int],
    hidden: Sequence[int],
    *,
    network: MakeNetwork = MLP,
    inputs: nn.Module | None = None,
) -> Levels:
    r"""Build normal levels with separate networks; each level sees all latents above it.

    .. math:: q(z \mid x) = q(z_L \mid x) \prod_{l<L} q(z_l \mid x, z_{>l}), \quad
        p(z) = p(z_L) \prod_{l<L} p(z_l \mid z_{>l}), \quad p(x \mid z_1, \dots, z_L)

    With two levels, this is the hierarchy of the VampPrior paper. The likelihood takes the concatenation of all latents,
    ``[*lead, sum(latent_dims)]``.

    Args:
        in_shape: Shape of a datum.
        latent_dims: :math:`D_L, \dots, D_1`, from the top down.
        hidden: Widths of the hidden layers; x and the latents are joined before the last one.
        network: Callable that makes each network, such as ``MLP``.
        inputs: Layer that is applied to x first.

    Returns:
        The levels.

    Raises:
        ValueError: If there are fewer than two levels, no hidden layer, or a size is not positive.

    References:
        Tomczak, Welling (2018), VAE with a VampPrior. https://arxiv.org/abs/1705.07120
    """
    top, *below = _checked_dims(latent_dims)
    *outer, width = _checked_hidden(hidden)
    encoders: list[nn.Module] = [NormalEncoder(network(in_shape, hidden, 2 * top))]
    conditionals: list[nn.Module] = []
    above = top
    for D in below:
        of_x, of_z = network(in_shape, outer, width), network(above, outer, width)
        encoders.append(NormalEncoder(Join(of_x, of_z, network(2 * width, (width,), 2 * D))))
        conditionals.append(NormalEncoder(network(above, hidden, 2 * D)))
        above += D
    return Levels(encoders, conditionals, bottom_up=_after(inputs, _Same(len(latent_dims))))


def ladder(
    in_shape: Shape,
    latent_dims: Sequence[int],
    hidden: Sequence[int],
    *,
    network: MakeNetwork = MLP,
    inputs: nn.Module | None = None,
) -> Levels:
    r"""Build normal levels on a deterministic path upward, :math:`e_l = g_l(e_{l-1})`, and one downward, which guide and model share.

    Below the top, each q is parameterized relative to its p; see :class:`~pyro_lvm.encoders.normal.ResidualNormalEncoder`. The likelihood
    takes the state at the bottom of the path, ``[*lead, hidden[-1]]``.

    Args:
        in_shape: Shape of a datum.
        latent_dims: :math:`D_L, \dots, D_1`, from the top down.
        hidden: Widths of the hidden layers of every network; the last is also the width of e and h.
        network: Callable that makes each network, such as ``MLP``.
        inputs: Layer that is applied to x first.

    Returns:
        The levels.

    Raises:
        ValueError: If there are fewer than two levels, no hidden layer, or a size is not positive.

    References:
        Sønderby et al. (2016), Ladder Variational Autoencoders. https://arxiv.org/abs/1602.02282

        Vahdat, Kautz (2020), NVAE. https://arxiv.org/abs/2007.03898
    """
    top, *below = _checked_dims(latent_dims)
    width = _checked_hidden(hidden)[-1]
    steps = [network(shape, hidden, width) for shape in (in_shape, *(width for _ in below))]
    encoders: list[nn.Module] = [NormalEncoder(network(width, hidden, 2 * top))]
    conditionals: list[NormalEncoder] = []
    path: list[nn.Module] = [network(top, hidden, width)]
    for D in below:
        conditionals.append(NormalEncoder(network(width, hidden, 2 * D)))
        offsets = _starting_at_zero(network(2 * width, hidden, 2 * D))
        encoders.append(ResidualNormalEncoder(conditionals[-1], Join(network=offsets)))
        path.append(Join(network=network(width + D, hidden, width)))
    return Levels(encoders, conditionals, path=path, bottom_up=_after(inputs, _BottomUp(steps)))


def conv_ladder(
    in_shape: Sequence[int],
    latent_dim: int,
    channels: Sequence[int],
    *,
    latent_channels: int = 2,
    inputs: nn.Module | None = None,
) -> Levels:
    r"""Build a convolutional :func:`ladder`: latents of level l are images of the data's size halved l times, those of the top a vector.

    The likelihood takes the state at the bottom of the path, ``[*lead, channels[0], H // 2, W // 2]``, which can be the ``in_shape`` of a
    :class:`~pyro_lvm.networks.conv.ConvDecoder`.

    Args:
        in_shape: Shape of an image, ``(channels, height, width)``; at least 8 by 8.
        latent_dim: Number of latent features of the top level.
        channels: Channels of e and h, one entry for each level, from the bottom up.
        latent_channels: Channels of the latents below the top.
        inputs: Layer that is applied to x first.

    Returns:
        The levels.

    Raises:
        ValueError: If there are fewer than two levels, the image is too small for this many, or a size is not positive.

    References:
        Vahdat, Kautz (2020), NVAE. https://arxiv.org/abs/2007.03898
    """
    check_counts(2, levels=len(channels))
    if len(in_shape) != 3:
        raise ValueError(f"in_shape must be (channels, height, width); got {tuple(in_shape)}. Give an image its channel.")
    num_channels, height, width = in_shape
    sizes = halvings(height, width, channels)
    shapes = [(C, *size) for C, size in zip((num_channels, *channels), sizes, strict=True)]  # the data's first
    steps = [_halving(shape, smaller) for shape, smaller in pairwise(shapes)]
    encoders: list[nn.Module] = [NormalEncoder(MLP(shapes[-1], (), 2 * latent_dim))]
    conditionals: list[NormalEncoder] = []
    path: list[nn.Module] = [nn.Sequential(MLP(latent_dim, (), shapes[-1]), _doubling(shapes[-1], shapes[-2]))]
    for level in range(len(channels) - 1, 0, -1):
        C, *size = shapes[level]
        conditionals.append(NormalEncoder(_convolutions((C, *size), 2 * latent_channels), event_dims=3))
        offsets = _starting_at_zero(_convolutions((2 * C, *size), 2 * latent_channels))
        encoders.append(ResidualNormalEncoder(conditionals[-1], Join(network=offsets, event_dims=3)))
        step = _convolutions((C + latent_channels, *size), C)
        path.append(Join(network=step if level == 1 else nn.Sequential(step, _doubling(shapes[level], shapes[level - 1])), event_dims=3))
    return Levels(encoders, conditionals, path=path, bottom_up=_after(inputs, _BottomUp(steps)))


class _Same(nn.Module):
    """Module that gives every level the data themselves."""

    def __init__(self, num_levels: int) -> None:
        super().__init__()
        self.num_levels = num_levels

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x] * self.num_levels


class _BottomUp(nn.Module):
    """Module that computes the features of each level from those below; the top's come first."""

    def __init__(self, steps: Sequence[nn.Module]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for step in self.steps:
            x = step(x)
            features.append(x)
        return features[::-1]


class _TopEncoder(nn.Module):
    def __init__(self, bottom_up: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        self.bottom_up, self.encoder = bottom_up, encoder

    def forward(self, x: Tensor) -> object:
        return self.encoder(self.bottom_up(x)[0])


def _after(inputs: nn.Module | None, bottom_up: nn.Module) -> nn.Module:
    return bottom_up if inputs is None else nn.Sequential(inputs, bottom_up)


def _halving(shape: Sequence[int], smaller: Sequence[int]) -> Network:
    layers = nn.Sequential(nn.Conv2d(shape[0], smaller[0], 4, stride=2, padding=1), nn.ReLU())
    return Network(layers, shape, shape, smaller)


def _doubling(shape: Sequence[int], larger: Sequence[int]) -> Network:
    layers = nn.Sequential(nn.ReLU(), doubling(shape[0], larger[0], larger[1:]))
    return Network(layers, shape, shape, larger)


def _convolutions(shape: Sequence[int], out_channels: int) -> Network:
    C, *size = shape
    layers = nn.Sequential(nn.Conv2d(C, C, 3, padding=1), nn.ReLU(), nn.Conv2d(C, out_channels, 3, padding=1))
    return Network(layers, shape, shape, (out_channels, *size))


def _starting_at_zero(network: nn.Module) -> nn.Module:
    """Initialize the last layer of a network of offsets at zero, so that every q equals its p and no KL starts at thousands of nats."""
    last = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return network


def _checked_dims(latent_dims: Sequence[int]) -> Sequence[int]:
    check_counts(2, levels=len(latent_dims))
    return latent_dims


def _checked_hidden(hidden: Sequence[int]) -> Sequence[int]:
    if not hidden:
        raise ValueError("hidden must hold at least one width; got none. Build Levels of linear parts instead.")
    return hidden
