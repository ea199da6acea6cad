"""Marginal distributions of the elements of an event."""

import pyro.distributions as dist
from torch.distributions import Distribution, Independent, MultivariateNormal

from pyro_lvm.distributions.normal_mixture import NormalMixture


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
