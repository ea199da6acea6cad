"""Prior of a label."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
import torch
from torch import Tensor, nn

from pyro_lvm.checks import check_counts


class LabelPrior(nn.Module):
    r"""Categorical prior of one label, with learned probabilities that start out equal.

    .. math:: p(y = v) = e^{l_v} / \sum_u e^{l_u}

    Args:
        num_labels: Number of different labels, V.

    Raises:
        ValueError: If ``num_labels`` is below 2.
    """

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        check_counts(2, num_labels=num_labels)
        self.num_labels = num_labels
        self.logits: Tensor = nn.Parameter(torch.zeros(num_labels))

    def forward(self) -> TorchDistribution:
        return dist.Categorical(logits=self.logits)
