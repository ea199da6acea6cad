"""Normalizing flows as modules: density form for priors, inverse form for guides.

An autoregressive flow is cheap in one direction and takes D passes in the other. A prior scores codes and a
guide draws them, so each uses the form in which its task is cheap.
"""

from collections.abc import Sequence

from pyro.distributions.transforms import LowerCholeskyAffine
import torch
from torch import Tensor, nn

from pyro_lvm.checks import check_counts
from pyro_lvm.distributions.flow import zuko


class InverseFlow(zuko.lazy.Flow):
    r"""Zuko flow run backwards: one pass makes a draw and its density.

    .. math:: z = f(\epsilon; h), \quad \epsilon \sim p_0, \quad
        \log q(z \mid h) = \log p_0(\epsilon) - \log \left| \det \frac{\partial f}{\partial \epsilon} \right|

    Args:
        flow: Zuko flow whose transformation :math:`f` is cheap forward, such as ``zuko.flows.MAF(D, H)``.
        latent_dim: Number of features of the flow, :math:`D`.
        context: Number of context features of the flow, :math:`H`.

    Raises:
        ValueError: If a count is below 1.

    References:
        Kingma et al. (2016), Improving Variational Inference with Inverse Autoregressive Flow.
        https://arxiv.org/abs/1606.04934
    """

    def __init__(self, flow: zuko.lazy.Flow, latent_dim: int, context: int) -> None:
        check_counts(latent_dim=latent_dim, context=context)
        super().__init__(flow.transform.inv, flow.base)
        self.latent_dim = latent_dim
        self.context = context


def maf(latent_dim: int, *, context: int = 0, transforms: int = 3, hidden: Sequence[int] = (128, 128)) -> zuko.lazy.Flow:
    r"""Masked autoregressive flow: affine steps, one pass to score.

    .. math:: \epsilon_d = z_d \, e^{a_d(z_{<d})} + b_d(z_{<d}), \quad \epsilon \sim \mathcal N(0, I)

    It is initialized close to the identity, so that :math:`p(z)` is initially close to the standard normal.

    Args:
        latent_dim: Number of features, :math:`D`.
        context: Number of context features that condition the flow.
        transforms: Number of autoregressive steps; their orders alternate.
        hidden: Widths of the hidden layers of each step.

    Returns:
        Zuko lazy flow; calling it returns the distribution.

    Raises:
        ValueError: If a count is below 1 (the context: below 0).

    References:
        Papamakarios, Pavlakou, Murray (2017), Masked Autoregressive Flow for Density Estimation.
        https://arxiv.org/abs/1705.07057
    """
    check_counts(latent_dim=latent_dim, transforms=transforms, hidden=min(hidden, default=0))
    check_counts(0, context=context)
    return _start_near_identity(zuko.flows.MAF(latent_dim, context, transforms=transforms, hidden_features=hidden, activation=nn.ELU))


def spline(
    latent_dim: int,
    *,
    context: int = 0,
    transforms: int = 3,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
) -> zuko.lazy.Flow:
    r"""Autoregressive spline flow: rational-quadratic steps, one pass to score.

    .. math:: \epsilon_d = g(z_d; \theta_d(z_{<d})), \quad \epsilon \sim \mathcal N(0, I)

    :math:`g` is a monotone spline on [-5, 5] and the identity outside; it is initialized close to the identity.

    Args:
        latent_dim: Number of features, :math:`D`.
        context: Number of context features that condition the flow.
        transforms: Number of autoregressive steps; their orders alternate.
        hidden: Widths of the hidden layers of each step.
        bins: Number of pieces of each spline.

    Returns:
        Zuko lazy flow; calling it returns the distribution.

    Raises:
        ValueError: If a count is below 1 (the context: below 0).

    References:
        Durkan et al. (2019), Neural Spline Flows. https://arxiv.org/abs/1906.04032
    """
    check_counts(latent_dim=latent_dim, transforms=transforms, hidden=min(hidden, default=0), bins=bins)
    check_counts(0, context=context)
    return _start_near_identity(
        zuko.flows.NSF(latent_dim, context, bins=bins, transforms=transforms, hidden_features=hidden, activation=nn.ELU)
    )


def iaf(latent_dim: int, context: int, *, transforms: int = 2, hidden: Sequence[int] = (128, 128)) -> InverseFlow:
    """Inverse autoregressive flow: :func:`maf` run backwards, one pass to draw.

    Args:
        latent_dim: Number of features, :math:`D`.
        context: Number of context features, :math:`H`.
        transforms: Number of autoregressive steps; their orders alternate.
        hidden: Widths of the hidden layers of each step.

    Returns:
        Lazy flow for :class:`~pyro_lvm.encoders.flow.FlowEncoder`.

    Raises:
        ValueError: If a count is below 1.

    References:
        Kingma et al. (2016), Improving Variational Inference with Inverse Autoregressive Flow.
        https://arxiv.org/abs/1606.04934
    """
    flow = maf(latent_dim, context=context, transforms=transforms, hidden=hidden)
    return InverseFlow(flow, latent_dim, context)


def inverse_spline(latent_dim: int, context: int, *, transforms: int = 2, hidden: Sequence[int] = (128, 128), bins: int = 8) -> InverseFlow:
    """Inverse autoregressive spline flow: :func:`spline` run backwards, one pass to draw.

    Args:
        latent_dim: Number of features, :math:`D`.
        context: Number of context features, :math:`H`.
        transforms: Number of autoregressive steps; their orders alternate.
        hidden: Widths of the hidden layers of each step.
        bins: Number of pieces of each spline.

    Returns:
        Lazy flow for :class:`~pyro_lvm.encoders.flow.FlowEncoder`.

    Raises:
        ValueError: If a count is below 1.

    References:
        Durkan et al. (2019), Neural Spline Flows. https://arxiv.org/abs/1906.04032
    """
    flow = spline(latent_dim, context=context, transforms=transforms, hidden=hidden, bins=bins)
    return InverseFlow(flow, latent_dim, context)


def whitened(flow: zuko.lazy.Flow, loc: Tensor, scale_tril: Tensor) -> zuko.lazy.Flow:
    r"""Flow preceded by a fixed affine step that centers, scales and decorrelates its values; the density includes this step.

    .. math:: \epsilon = f\big(L^{-1} (z - m)\big), \quad
        \log \left| \det \frac{\partial \epsilon}{\partial z} \right| = \log \left| \det f' \right| - \sum_d \log L_{dd}

    With the mean of some data and the Cholesky factor of their covariance, a flow that is initialized near the identity is
    initially near their normal distribution.

    Args:
        flow: Zuko lazy flow :math:`f` of D features.
        loc: :math:`m`, shape ``[D]``; becomes a buffer of the flow.
        scale_tril: :math:`L`, shape ``[D, D]``, lower triangular with a positive diagonal; becomes a buffer of the flow.

    Returns:
        Zuko lazy flow.

    Raises:
        ValueError: If the diagonal is not positive.
    """
    if not bool((scale_tril.diagonal() > 0).all()):
        raise ValueError(f"scale_tril must have a positive diagonal; got {scale_tril.diagonal().min():g}. Drop constant features.")
    affine = zuko.lazy.UnconditionalTransform(LowerCholeskyAffine, loc, scale_tril, buffer=True)
    return zuko.lazy.Flow([affine.inv, flow.transform], flow.base)


@torch.no_grad()
def _start_near_identity(flow: zuko.lazy.Flow) -> zuko.lazy.Flow:
    for step in flow.transform.transforms:
        # With one feature and no context there is no network, only its outputs as parameters.
        outputs = step.hyper[-1].parameters() if hasattr(step, "hyper") else step.phi
        for output in outputs:
            output.mul_(0.01)
    return flow
