"""Guides q(z|x): modules that map data ``[*lead, *X]`` to a distribution with batch shape ``[*lead]``.

In a hierarchy their networks take the state h of the levels above as well, and they serve as p(z|h) too.
"""

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import AffineTransform

from pyro_lvm.distributions import FlowDistribution, lower_triangular, zuko
from pyro_lvm.flows import InverseFlow
from pyro_lvm.manifolds import LogisticNormal, PowerSpherical
from pyro_lvm.univariate import StudentT

__all__ = [
    "DirichletEncoder",
    "FlowEncoder",
    "FullRankNormalEncoder",
    "LaplaceEncoder",
    "LogisticNormalEncoder",
    "NormalEncoder",
    "PowerSphericalEncoder",
    "ResidualNormalEncoder",
    "StudentTEncoder",
]


class NormalEncoder(nn.Module):
    r"""Normal guide with diagonal covariance.

    .. math:: q(z \mid x) = \mathcal N(z \mid m(x), \operatorname{diag} s(x)^2)

    Args:
        network: Module that maps ``[*lead, *X]`` to ``[*lead, 2 * D]``: the mean, then the log scale.
        event_dims: Number of dimensions of a latent: 1, or 3 for images ``[C, H, W]``, whose network gives
            ``[*lead, 2 * C, H, W]``.

    Raises:
        ValueError: If (on call) the network returns an odd number of features.
    """

    def __init__(self, network: nn.Module, *, event_dims: int = 1) -> None:
        super().__init__()
        self.network = network
        self.event_dims = event_dims

    def forward(self, *inputs: Tensor) -> TorchDistribution:
        loc, log_scale = _halves(self.network(*inputs), self.event_dims)  # [*lead, D]
        return dist.Normal(loc, log_scale.exp()).to_event(self.event_dims)


class ResidualNormalEncoder(nn.Module):
    r"""Normal guide given relative to the prior of its level, which it moves along with.

    .. math:: p(z \mid h) = \mathcal N(z \mid m, \operatorname{diag} s^2), \quad
        q(z \mid x, h) = \mathcal N\big(z \mid m + s\, a(x, h), \operatorname{diag} (s\, e^{b(x, h)})^2\big)

    so that the KL, :math:`\tfrac12 \sum (a^2 + e^{2b} - 2b - 1)`, depends on the offsets alone.

    Args:
        conditional: Module whose call ``conditional(h)`` returns p(z|h), a :class:`NormalEncoder`; shared with the model.
        network: Module that maps features of x and h to ``[*lead, 2 * D]``: the offsets a, then b.

    Raises:
        TypeError: If ``conditional`` is no :class:`NormalEncoder`.
        ValueError: If (on call) the network does not return two numbers for each latent of the conditional.

    References:
        Vahdat, Kautz (2020), NVAE. https://arxiv.org/abs/2007.03898 (there a is not in units of s)
    """

    def __init__(self, conditional: NormalEncoder, network: nn.Module) -> None:
        super().__init__()
        if not isinstance(conditional, NormalEncoder):
            raise TypeError(
                f"conditional must be a NormalEncoder; got {type(conditional).__name__}. Use a NormalEncoder as guide, too."
            )
        self.conditional = conditional
        self.network = network

    def forward(self, x: Tensor, h: Tensor) -> TorchDistribution:
        prior, event_dims = self.conditional(h).base_dist, self.conditional.event_dims
        shift, log_ratio = _halves(self.network(x, h), event_dims)  # [*lead, D]
        if shift.shape[-event_dims:] != prior.loc.shape[-event_dims:]:
            raise ValueError(
                "network must return two offsets for each of the conditional's latents, "
                f"{tuple(prior.loc.shape[-event_dims:])}; got offsets of shape {tuple(shift.shape[-event_dims:])}. Change the width of its last layer."
            )
        return dist.Normal(prior.loc + prior.scale * shift, prior.scale * log_ratio.exp()).to_event(event_dims)


class FullRankNormalEncoder(nn.Module):
    r"""Normal guide with full covariance, by its Cholesky factor.

    .. math:: q(z \mid x) = \mathcal N(z \mid m(x), L(x) L(x)^\top), \quad L_{dd} = e^{l_d(x)}

    Args:
        network: Module that maps ``[*lead, *X]`` to ``[*lead, D + D (D + 1) / 2]``: the mean, the logs of the
            diagonal of :math:`L`, then its rows below the diagonal.
        latent_dim: Number of latent features, :math:`D`.

    Raises:
        ValueError: If ``latent_dim`` is below 1, or (on call) the network returns another number of features.
    """

    def __init__(self, network: nn.Module, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1; got {latent_dim}. Give a positive number.")
        self.network = network
        self.latent_dim = latent_dim

    def forward(self, *inputs: Tensor) -> TorchDistribution:
        D = self.latent_dim
        features = self.network(*inputs)  # [*lead, P]
        _check_features(features, D + D * (D + 1) // 2, "mean and Cholesky factor: D + D * (D + 1) / 2")
        loc, log_diagonal, below = features.split([D, D, D * (D - 1) // 2], -1)
        return dist.MultivariateNormal(loc, scale_tril=lower_triangular(log_diagonal.exp(), below))


class FlowEncoder(nn.Module):
    r"""Normalizing-flow guide: a conditional flow in inverse form, scaled and shifted per datum.

    .. math:: z = m(x) + s(x) \odot f(\epsilon; h(x)), \quad \epsilon \sim \mathcal N(0, I)

    A draw and its density take one pass; the density of any other value inverts :math:`f`, in D passes.
    With a flow that starts near the identity, training starts from the diagonal normal guide. A flow has no
    closed-form mean: average draws instead.

    Args:
        network: Module that maps ``[*lead, *X]`` to ``[*lead, 2 * D + H]``: the mean, the log scale, then the
            context h(x).
        flow: Flow of the noise, :func:`~pyro_lvm.flows.iaf` or :func:`~pyro_lvm.flows.inverse_spline`.

    Raises:
        TypeError: If ``flow`` is not an :class:`~pyro_lvm.flows.InverseFlow`.
        ValueError: If (on call) the network returns another number of features.

    References:
        Rezende, Mohamed (2015), Variational Inference with Normalizing Flows.
        https://arxiv.org/abs/1505.05770

        Kingma et al. (2016), Improving Variational Inference with Inverse Autoregressive Flow.
        https://arxiv.org/abs/1606.04934
    """

    def __init__(self, network: nn.Module, flow: InverseFlow) -> None:
        super().__init__()
        if not isinstance(flow, InverseFlow):
            raise TypeError(
                f"flow must be an InverseFlow; got {type(flow).__name__}. Pass iaf(latent_dim, context), or "
                "wrap a zuko flow: InverseFlow(flow, latent_dim, context)."
            )
        self.network = network
        self.flow = flow

    def forward(self, *inputs: Tensor) -> FlowDistribution:
        D, H = self.flow.latent_dim, self.flow.context
        features = self.network(*inputs)  # [*lead, P]
        _check_features(features, 2 * D + H, "mean, log scale and context: 2 * D + H")
        loc, log_scale, context = features.split([D, D, H], -1)
        noise = self.flow(context)
        standardize = AffineTransform(loc, log_scale.exp(), event_dim=1).inv
        transform = zuko.transforms.ComposedTransform(standardize, noise.transform)
        return FlowDistribution(zuko.distributions.NormalizingFlow(transform, noise.base))


class LaplaceEncoder(nn.Module):
    r"""Laplace guide.

    .. math:: q(z \mid x) = \prod_d \tfrac{1}{2 s_d(x)} e^{-|z_d - m_d(x)| / s_d(x)}

    Args:
        network: As for :class:`NormalEncoder`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> TorchDistribution:
        loc, log_scale = _halves(self.network(*inputs), 1)  # [*lead, D]
        return dist.Laplace(loc, log_scale.exp()).to_event(1)


class StudentTEncoder(nn.Module):
    r"""Student t guide, whose tails cover a posterior that a normal guide misses.

    .. math:: q(z \mid x) = \prod_d t_\nu\big((z_d - m_d(x)) / s_d(x)\big) / s_d(x)

    Args:
        network: As for :class:`NormalEncoder`.
        df: Degrees of freedom, :math:`\nu`.

    Raises:
        ValueError: If ``df`` is not positive.
    """

    def __init__(self, network: nn.Module, *, df: float = 4.0) -> None:
        super().__init__()
        if not df > 0:
            raise ValueError(f"df must be positive; got {df}. Use NormalEncoder for infinitely many.")
        self.network = network
        self.df = df

    def forward(self, *inputs: Tensor) -> TorchDistribution:
        loc, log_scale = _halves(self.network(*inputs), 1)  # [*lead, D]
        return StudentT(torch.full_like(loc, self.df), loc, log_scale.exp()).to_event(1)


class DirichletEncoder(nn.Module):
    r"""Dirichlet guide of proportions, D numbers that sum to 1.

    .. math:: q(z \mid x) \propto \prod_d z_d^{a_d(x) - 1}, \quad \log a(x) = \mathrm{network}(x)

    Args:
        network: Module that maps ``[*lead, *X]`` to ``[*lead, D]``, the log concentrations.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> TorchDistribution:
        return dist.Dirichlet(self.network(*inputs).exp())


class LogisticNormalEncoder(nn.Module):
    r"""Logistic-normal guide of proportions, D numbers that sum to 1.

    .. math:: z = \operatorname{softmax}(y), \quad y \sim \mathcal N(m(x), \operatorname{diag} s(x)^2)

    Args:
        network: As for :class:`NormalEncoder`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> LogisticNormal:
        loc, log_scale = _halves(self.network(*inputs), 1)  # [*lead, D]
        return LogisticNormal(loc, log_scale.exp())


class PowerSphericalEncoder(nn.Module):
    r"""Power spherical guide of unit vectors; see :class:`~pyro_lvm.manifolds.PowerSpherical`.

    Args:
        network: Module that maps ``[*lead, *X]`` to ``[*lead, D + 1]``: a vector in the mean direction, then the log
            concentration.

    References:
        De Cao, Aziz (2020), The Power Spherical distribution. https://arxiv.org/abs/2006.04437
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> PowerSpherical:
        features = self.network(*inputs)  # [*lead, D + 1]
        direction, concentration = features[..., :-1], features[..., -1].exp()
        return PowerSpherical(direction / direction.norm(dim=-1, keepdim=True), concentration)


def _halves(features: Tensor, event_dims: int) -> tuple[Tensor, ...]:
    if features.shape[-event_dims] % 2:
        raise ValueError(
            f"network must return 2 * D features, mean and log scale; got {features.shape[-event_dims]}. "
            "Give its last layer an even width."
        )
    return features.chunk(2, -event_dims)


def _check_features(features: Tensor, expected: int, meaning: str) -> None:
    if features.shape[-1] != expected:
        raise ValueError(
            f"network must return {expected} features ({meaning}); got {features.shape[-1]}. "
            "Change the width of its last layer."
        )
