"""Distribution of proposals that a function accepts."""

from collections.abc import Callable
from typing import Any

from pyro.distributions import TorchDistribution
import torch
from torch import Size, Tensor

from pyro_lvm.distributions import SizeLike


class Resampled(TorchDistribution):
    r"""Distribution of proposals that are accepted with a probability that depends on them, the last of T in any case.

    .. math:: p(z) = \pi(z) \Big[(1 - \beta) \frac{a(z)}{Z} + \beta\Big], \quad \beta = (1 - Z)^{T - 1}

    It is normalized as far as Z is the mean of a under :math:`\pi`.

    Args:
        base: :math:`\pi`, with batch shape [] and event shape ``[*E]``.
        log_acceptance: Maps values ``[*lead, *E]`` to :math:`\log a`, ``[*lead]``, at most 0.
        log_normalizer: :math:`\log Z`, a scalar.
        log_rejection: :math:`\log (1 - Z)`, a scalar, which keeps its digits where Z is near 1.
        truncation: T, at least 2.
    """

    arg_constraints = {}

    def __init__(
        self,
        base: TorchDistribution,
        log_acceptance: Callable[[Tensor], Tensor],
        log_normalizer: Tensor,
        log_rejection: Tensor,
        truncation: int,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.base, self.log_acceptance, self.truncation = base, log_acceptance, truncation
        self.log_normalizer, self.log_rejection = log_normalizer, log_rejection
        super().__init__(Size(), base.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        return self.base.support

    def expand(self, batch_shape: SizeLike, _instance: TorchDistribution | None = None) -> "Resampled":
        new = self._get_checked_instance(Resampled, _instance)
        new.__dict__.update(self.__dict__)
        TorchDistribution.__init__(new, Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_beta = (self.truncation - 1) * self.log_rejection
        log_accepted = torch.log(-torch.expm1(log_beta)) + self.log_acceptance(value) - self.log_normalizer
        ratio = torch.logaddexp(log_accepted, log_beta)
        log_prob = self.base.log_prob(value) + ratio
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))

    @torch.no_grad()
    def sample(self, sample_shape: SizeLike = Size()) -> Tensor:
        lead = self._extended_shape(sample_shape)[: len(sample_shape) + len(self.batch_shape)]
        z = self.base.sample(Size((lead.numel(),)))  # [N, *E]
        waiting = self._rejected(z).nonzero()[:, 0]
        for tried in range(2, self.truncation + 1):
            if len(waiting) == 0:
                break
            z[waiting] = self.base.sample(Size((len(waiting),)))
            if tried < self.truncation:
                waiting = waiting[self._rejected(z[waiting])]
        return z.reshape(*lead, *self.event_shape)

    def _rejected(self, z: Tensor) -> Tensor:
        log_a = self.log_acceptance(z)
        return torch.rand_like(log_a).log() > log_a
