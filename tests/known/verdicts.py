"""What an evaluation says of each datum, beside the truth."""

from dataclasses import dataclass

import torch
from torch import Tensor

ERRORS = 5.0  # standard errors
LEAST = 1e-3  # nats; less matters to no one


@dataclass(frozen=True)
class Verdict:
    """An evaluation beside the truth, datum by datum.

    Attributes:
        off: log p-hat(x) - log p(x) in nats, shape ``[N]``.
        allowed: Half the width of the interval, five Monte Carlo errors and the bias, ``[N]``.
        marked: Which data the evaluation marks, ``[N]``.
    """

    off: Tensor
    allowed: Tensor
    marked: Tensor

    @property
    def right(self):
        return self.off.abs() <= self.allowed

    @property
    def silently_wrong(self):
        return ~self.right & ~self.marked


def judge(score, known):
    """Compare an evaluation with what is known; a bound says of itself that it is one."""
    off = score.log_px - known.log_px
    if score.is_bound:
        return Verdict(off, torch.zeros_like(off), torch.ones_like(off, dtype=torch.bool))
    marked = torch.zeros_like(off, dtype=torch.bool) if score.is_exact else score.is_unreliable
    return Verdict(off, (ERRORS * score.mc_error + score.bias.abs()).clamp_min(LEAST) + known.slack, marked)
