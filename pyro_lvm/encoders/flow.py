"""Normalizing-flow guides."""

from torch import Tensor, nn
from torch.distributions import AffineTransform

from pyro_lvm.checks import check_types
from pyro_lvm.distributions.flow import FlowDistribution, zuko
from pyro_lvm.encoders.normal import check_features
from pyro_lvm.networks.flows import InverseFlow


class FlowEncoder(nn.Module):
    r"""Normalizing-flow guide: a conditional flow in inverse form, scaled and shifted per datum.

    .. math:: z = m(x) + s(x) \odot f(\epsilon; h(x)), \quad \epsilon \sim \mathcal N(0, I)

    A draw and its density take one pass; the density of any other value inverts :math:`f`, in D passes.
    With a flow that is initialized near the identity, training starts from the diagonal normal guide. A flow
    has no closed-form mean: average draws instead.

    Args:
        network: Module that maps ``[*lead, *X]`` to ``[*lead, 2 * D + H]``: the mean, the log scale, then the
            context h(x).
        flow: Flow of the noise, :func:`~pyro_lvm.networks.flows.iaf` or :func:`~pyro_lvm.networks.flows.inverse_spline`.

    Raises:
        TypeError: If ``flow`` is not an :class:`~pyro_lvm.networks.flows.InverseFlow`.
        ValueError: If (on call) the network returns another number of features.

    References:
        Rezende, Mohamed (2015), Variational Inference with Normalizing Flows.
        https://arxiv.org/abs/1505.05770

        Kingma et al. (2016), Improving Variational Inference with Inverse Autoregressive Flow.
        https://arxiv.org/abs/1606.04934
    """

    def __init__(self, network: nn.Module, flow: InverseFlow) -> None:
        super().__init__()
        remedy = "Pass iaf(latent_dim, context), or wrap a zuko flow: InverseFlow(flow, latent_dim, context)."
        check_types(InverseFlow, remedy, flow=flow)
        self.network = network
        self.flow = flow

    def forward(self, *inputs: Tensor) -> FlowDistribution:
        D, H = self.flow.latent_dim, self.flow.context
        features = self.network(*inputs)  # [*lead, P]
        check_features(features, 2 * D + H, "mean, log scale and context: 2 * D + H")
        loc, log_scale, context = features.split([D, D, H], -1)
        noise = self.flow(context)
        standardize = AffineTransform(loc, log_scale.exp(), event_dim=1).inv
        transform = zuko.transforms.ComposedTransform(standardize, noise.transform)
        return FlowDistribution(zuko.distributions.NormalizingFlow(transform, noise.base))
