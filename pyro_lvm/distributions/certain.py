"""Distribution of a label that is certain."""

from typing import ClassVar

from pyro.distributions import TorchDistribution, constraints
import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint


class CertainLabel(TorchDistribution):
    r"""Distribution of a label that has one value with certainty, as where a latent label is read off without error.

    .. math:: p(c) = [c = y]

    Unlike Pyro's Delta, it is a distribution of discrete values, so that a model that observes it has a mass and no density.

    Args:
        label: The label y, ``[*lead]``, from 0 to V - 1.
        num_labels: Number of different labels, V.
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(self, label: Tensor, num_labels: int) -> None:
        self.label, self.num_labels = label, num_labels
        super().__init__(label.shape, validate_args=False)

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(0, self.num_labels - 1)

    def expand(self, batch_shape: Size | list[int] | tuple[int, ...], _instance: None = None) -> "CertainLabel":
        return CertainLabel(self.label.expand(batch_shape), self.num_labels)

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        return self.label.expand(Size(sample_shape) + self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        is_equal = value == self.label
        return torch.zeros(is_equal.shape, device=is_equal.device).masked_fill(~is_equal, -torch.inf)
