"""Mixtures of normal distributions whose densities are computed as matrix products."""

import math

import pyro.distributions as dist
from pyro.distributions import TorchDistribution, constraints
import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from pyro_lvm.distributions import SizeLike

_CHUNK_NUMEL = 2**22  # whitened numbers at a time, 32 MB


class NormalMixture(TorchDistribution):
    """Base class of mixtures of normal distributions; a subclass defines the form of the covariances.

    Args:
        logits: Unnormalized log weights, shape ``[C]``.
        loc: Means, shape ``[C, D]``.
        scale: Scales that define the covariances, shape ``[C, *S]``.
    """

    support = constraints.real_vector

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits, self.loc, self.scale = logits, loc, scale
        super().__init__(Size(), loc.shape[1:], validate_args=validate_args)

    def expand(self, batch_shape: SizeLike, _instance: TorchDistribution | None = None) -> "NormalMixture":
        new = self._get_checked_instance(type(self), _instance)
        new.logits, new.loc, new.scale = self.logits, self.loc, self.scale
        TorchDistribution.__init__(new, Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_joint = self._log_joint(value)  # [*lead, C]
        peak = log_joint.detach().amax(-1).clamp_min(torch.finfo(log_joint.dtype).min)  # [*lead]
        # Differences to the largest term need only float32, whose powers take half as long; in compiled code, powers of two take less
        # time than powers of e.
        terms = (log_joint - peak[..., None]).to(torch.result_type(value, self.loc)).mul_(math.log2(math.e)).exp2_()
        log_prob = (terms.sum(-1).log() + peak).to(terms.dtype)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))

    def _log_joint(self, z: Tensor) -> Tensor:
        """Return log w_c + log p(z|c), shape ``[*lead, C]``."""
        raise NotImplementedError

    def component_variances(self) -> Tensor:
        """Return the variances of the components, shape ``[C, D]``."""
        raise NotImplementedError

    def _drawn_components(self, sample_shape: SizeLike) -> Tensor:
        shape = self._extended_shape(sample_shape)[:-1]
        return dist.Categorical(logits=self.logits).sample(shape)  # [*sample, *batch]

    @property
    def mean(self) -> Tensor:
        return (self.logits.softmax(-1) @ self.loc).expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        spread = self.loc - self.logits.softmax(-1) @ self.loc  # [C, D]
        variance = self.logits.softmax(-1) @ (self.component_variances() + spread**2)  # [D]
        return variance.expand(self.batch_shape + self.event_shape)


class DiagNormalMixture(NormalMixture):
    r"""Mixture of normal distributions with diagonal covariances.

    .. math:: p(z) = \sum_{c=1}^C w_c \prod_{d=1}^D \mathcal N(z_d \mid m_{cd}, s_{cd}^2),
        \quad w = \operatorname{softmax}(\text{logits})

    The density is one matrix product in float64: it takes no array ``[*lead, C, D]`` and loses no digits at small scales.

    Args:
        logits: Unnormalized log weights, shape ``[C]``.
        loc: Means, shape ``[C, D]``.
        scale: Standard deviations, shape ``[C, D]``.

    Raises:
        ValueError: If the shapes disagree, or, with validation on, a scale is not positive.
    """

    arg_constraints = {
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
    }

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        if loc.ndim != 2 or scale.shape != loc.shape or logits.shape != loc.shape[:1]:
            raise ValueError(
                "DiagNormalMixture needs logits [C], loc [C, D] and scale [C, D]; got "
                f"{tuple(logits.shape)}, {tuple(loc.shape)} and {tuple(scale.shape)}. Expand them first."
            )
        super().__init__(logits, loc, scale, validate_args=validate_args)

    def _log_joint(self, z: Tensor) -> Tensor:
        # Float32 would lose a tenth of a nat at scale 0.01, and more with means far from the origin.
        center = self.loc.detach().double().mean(0)  # [D]
        z, loc, scale = z - center, self.loc.double() - center, self.scale.double()
        precision = scale**-2
        log_norm = (scale.log() + 0.5 * (loc**2 * precision + math.log(2 * math.pi))).sum(-1)  # [C]
        constant = self.logits.double().log_softmax(-1) - log_norm
        weight = torch.cat([-0.5 * precision, loc * precision, constant[:, None]], -1)  # [C, 2D + 1]
        return torch.cat([z**2, z, torch.ones_like(z[..., :1])], -1) @ weight.T  # [*lead, C]

    @torch.no_grad()
    def sample(self, sample_shape: SizeLike = Size()) -> Tensor:
        component = self._drawn_components(sample_shape)
        return torch.normal(self.loc[component], self.scale[component])  # [*sample, *batch, D]

    def component_variances(self) -> Tensor:
        return self.scale**2


class FullNormalMixture(NormalMixture):
    r"""Mixture of normal distributions with full covariances.

    .. math:: p(z) = \sum_{c=1}^C w_c \, \mathcal N(z \mid m_c, L_c L_c^\top),
        \quad w = \operatorname{softmax}(\text{logits})

    The density whitens z for one chunk of components at a time, each with a matrix product in float64. Memory does not grow with the
    number of components unless gradients are needed.

    Args:
        logits: Unnormalized log weights, shape ``[C]``.
        loc: Means, shape ``[C, D]``.
        scale_tril: Cholesky factors of the covariances, shape ``[C, D, D]``.

    Raises:
        ValueError: If the shapes disagree, or, with validation on, a factor is not lower triangular with a positive diagonal.
    """

    arg_constraints = {
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale_tril": constraints.independent(constraints.lower_cholesky, 1),
    }

    def __init__(self, logits: Tensor, loc: Tensor, scale_tril: Tensor, *, validate_args: bool | None = None) -> None:
        if loc.ndim != 2 or scale_tril.shape != (*loc.shape, loc.shape[-1]) or logits.shape != loc.shape[:1]:
            raise ValueError(
                "FullNormalMixture needs logits [C], loc [C, D] and scale_tril [C, D, D]; got "
                f"{tuple(logits.shape)}, {tuple(loc.shape)} and {tuple(scale_tril.shape)}. Expand them first."
            )
        super().__init__(logits, loc, scale_tril, validate_args=validate_args)

    @property
    def scale_tril(self) -> Tensor:
        return self.scale

    def _log_joint(self, z: Tensor) -> Tensor:
        center = self.loc.detach().double().mean(0)  # [D]
        z, loc, scale = z - center, self.loc.double() - center, self.scale.double()
        log_norm = (scale.diagonal(dim1=-2, dim2=-1).log() + 0.5 * math.log(2 * math.pi)).sum(-1)  # [C]
        whiten = torch.linalg.solve_triangular(scale, torch.eye(len(center)).to(scale), upper=False)  # [C, D, D]
        affine = torch.cat([whiten, -whiten @ loc[..., None]], -1)  # [C, D, D + 1]
        z = torch.cat([z, torch.ones_like(z[..., :1])], -1)
        chunks = affine.split(max(1, _CHUNK_NUMEL // z.numel()))
        squares = [(z @ a.flatten(0, 1).T).unflatten(-1, a.shape[:2]).square().sum(-1) for a in chunks]
        return self.logits.double().log_softmax(-1) - log_norm - 0.5 * torch.cat(squares, -1)  # [*lead, C]

    @torch.no_grad()
    def sample(self, sample_shape: SizeLike = Size()) -> Tensor:
        component = self._drawn_components(sample_shape)
        z = torch.randn(component.shape + self.event_shape, dtype=self.loc.dtype, device=self.loc.device)
        for c in component.unique():  # one factor at a time: a copy for each draw would take D^2 numbers
            drawn = component == c
            z[drawn] = self.loc[c] + z[drawn] @ self.scale[c].T
        return z  # [*sample, *batch, D]

    def component_variances(self) -> Tensor:
        return self.scale.square().sum(-1)


def mixture(logits: Tensor, components: TorchDistribution) -> TorchDistribution:
    r"""Return the mixture of the entries of a batched distribution.

    .. math:: p(z) = \sum_{c=1}^C w_c \, p_c(z), \quad w = \operatorname{softmax}(\text{logits})

    Args:
        logits: Unnormalized log weights, shape ``[C]``.
        components: Distribution with batch shape ``[C]`` and event shape ``[D]``.

    Returns:
        Distribution with batch shape ``[]`` and event shape ``[D]``: a :class:`DiagNormalMixture` or a
        :class:`FullNormalMixture` if the components are normal, otherwise Pyro's ``MixtureSameFamily``.

    Raises:
        ValueError: If the components' batch shape is not that of the logits, or their events are not vectors.
    """
    if components.batch_shape != logits.shape or logits.ndim != 1 or len(components.event_shape) != 1:
        raise ValueError(
            "components must have batch shape [C] and event shape [D] for logits [C]; got batch shape "
            f"{tuple(components.batch_shape)}, event shape {tuple(components.event_shape)} and logits "
            f"{tuple(logits.shape)}. Use .to_event(1), and one logit per component."
        )
    base = getattr(components, "base_dist", None)
    if isinstance(components, Independent) and isinstance(base, Normal):
        return DiagNormalMixture(logits, base.loc, base.scale)
    if isinstance(components, MultivariateNormal):
        return FullNormalMixture(logits, components.loc, components.scale_tril)
    return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)


def lower_triangular(diagonal: Tensor, below: Tensor) -> Tensor:
    """Return lower triangular matrices ``[*lead, D, D]`` of diagonals ``[*lead, D]`` and the rows below, ``[*lead, D (D - 1) / 2]``."""
    lower = torch.diag_embed(diagonal)  # [*lead, D, D]
    D = diagonal.shape[-1]
    row, column = torch.tril_indices(D, D, offset=-1, device=lower.device)
    lower[..., row, column] = below
    return lower


def marginals(distribution: Distribution) -> Distribution | None:
    r"""Return the marginal :math:`p(z_d)` of every element of a distribution's events, if it has a closed form.

    Args:
        distribution: Distribution with batch shape ``[*lead]`` and event shape ``[*event]``.

    Returns:
        Distribution with event shape ``[]`` and a batch shape that broadcasts to ``[*lead, *event]``, or None.
    """
    if isinstance(distribution, Independent):
        return None if distribution.base_dist.event_shape else distribution.base_dist
    if isinstance(distribution, MultivariateNormal):
        return dist.Normal(distribution.mean, distribution.variance.sqrt())
    if isinstance(distribution, NormalMixture):
        weights = dist.Categorical(logits=distribution.logits.expand(*distribution.event_shape, -1))
        return dist.MixtureSameFamily(weights, dist.Normal(distribution.loc.T, distribution.component_variances().sqrt().T))
    return None if distribution.event_shape else distribution
