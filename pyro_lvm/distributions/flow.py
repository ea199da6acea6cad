"""Normalizing flows as Pyro distributions; the only module that imports zuko directly."""

from pyro.distributions import TorchDistribution, constraints
import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from pyro_lvm.distributions import SizeLike

_validate_args = Distribution._validate_args
import zuko  # noqa: E402

# Importing zuko switches argument validation off for every torch distribution in the process.
Distribution.set_default_validate_args(_validate_args)


class FlowDistribution(TorchDistribution):
    r"""Zuko flow as a Pyro distribution.

    .. math:: \log p(z) = \log p_0(f(z)) + \log \left| \det \frac{\partial f(z)}{\partial z} \right|

    The log density of the latest reparameterized draw is kept, so that scoring this very tensor costs nothing; any other value is
    passed through :math:`f`. There is no closed-form mean or variance: average draws instead.

    Args:
        flow: Distribution that a zuko lazy flow returns when called, with event shape ``[D]``.

    Raises:
        TypeError: If ``flow`` is not a ``zuko.distributions.NormalizingFlow``.
        ValueError: If its events are not vectors.

    References:
        Papamakarios et al. (2021), Normalizing Flows for Probabilistic Modeling and Inference.
        https://arxiv.org/abs/1912.02762
    """

    arg_constraints = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, flow: zuko.distributions.NormalizingFlow, *, validate_args: bool | None = None) -> None:
        if not isinstance(flow, zuko.distributions.NormalizingFlow):
            raise TypeError(f"flow must be a zuko NormalizingFlow; got {type(flow).__name__}. Call the lazy flow: flow().")
        # The flow's own event_shape would count the batch dimensions of its transformation's parameters.
        if len(flow.base.event_shape) != 1:
            raise ValueError(f"flow must have event shape [D]; got {tuple(flow.base.event_shape)}. Flatten its events.")
        self.flow = flow
        self._scored_draw: tuple[Tensor, Tensor, bool] | None = None
        super().__init__(flow.batch_shape, flow.base.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: SizeLike, _instance: TorchDistribution | None = None) -> "FlowDistribution":
        new = self._get_checked_instance(FlowDistribution, _instance)
        new.flow, new._scored_draw = self.flow.expand(Size(batch_shape)), None
        super(FlowDistribution, new).__init__(Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: SizeLike = Size()) -> Tensor:
        z, log_prob = self.flow.rsample_and_log_prob(Size(sample_shape))
        self._scored_draw = z, log_prob, torch.is_grad_enabled()
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        kept = self._kept_log_prob(value)
        return self.flow.log_prob(value) if kept is None else kept

    def _kept_log_prob(self, value: Tensor) -> Tensor | None:
        if self._scored_draw is None:
            return None
        draw, log_prob, has_graph = self._scored_draw
        # A density computed without a graph must not be used where its gradient is needed.
        return log_prob if value is draw and (has_graph or not torch.is_grad_enabled()) else None
