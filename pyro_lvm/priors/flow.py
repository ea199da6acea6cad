"""Normalizing flows as priors."""

from torch import nn

from pyro_lvm.checks import check_types
from pyro_lvm.distributions.flow import FlowDistribution, zuko


class FlowPrior(nn.Module):
    r"""Normalizing-flow prior.

    .. math:: \log p(z) = \log \mathcal N(f(z) \mid 0, I)
        + \log \left| \det \frac{\partial f(z)}{\partial z} \right|

    Args:
        flow: Zuko lazy flow without context whose density takes one pass, such as :func:`~pyro_lvm.networks.flows.maf`,
            :func:`~pyro_lvm.networks.flows.spline` or ``zuko.flows.MAF(features=D)``.

    Raises:
        TypeError: If ``flow`` is not a zuko lazy flow.

    References:
        Papamakarios et al. (2021), Normalizing Flows for Probabilistic Modeling and Inference.
        https://arxiv.org/abs/1912.02762
    """

    def __init__(self, flow: zuko.lazy.Flow) -> None:
        super().__init__()
        check_types(zuko.lazy.Flow, "Pass a zuko lazy flow: maf(latent_dim) or spline(latent_dim).", flow=flow)
        self.flow = flow

    def forward(self) -> FlowDistribution:
        return FlowDistribution(self.flow())
