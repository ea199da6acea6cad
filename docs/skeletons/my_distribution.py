"""A distribution of your own, which torch and Pyro lack: densities, draws, `expand`, and a check against a library."""

from pyro.distributions import TorchDistribution, constraints
from scipy import stats
import torch
from torch import Size, Tensor

from pyro_lvm.distributions import SizeLike


class Logistic(TorchDistribution):
    r"""Logistic distribution.

    .. math:: p(x) = \frac{e^{-u}}{s\, (1 + e^{-u})^2}, \quad u = (x - m) / s

    Args:
        loc: :math:`m`, shape ``[*batch]``.
        scale: :math:`s`, positive, shape ``[*batch]``.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # checked where validation is on
    support = constraints.real
    has_rsample = True  # draws carry gradients

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: SizeLike, _instance: TorchDistribution | None = None) -> "Logistic":
        new = self._get_checked_instance(Logistic, _instance)
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        super(Logistic, new).__init__(Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        u = (value - self.loc) / self.scale
        return -u - 2 * torch.nn.functional.softplus(-u) - self.scale.log()

    def rsample(self, sample_shape: SizeLike = Size()) -> Tensor:
        noise = torch.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + self.scale * noise.logit()

    @property
    def mean(self) -> Tensor:
        return self.loc


torch.manual_seed(0)
p = Logistic(torch.tensor([0.0, 1.0]).double(), torch.tensor(2.0).double())
x = p.expand([3, 2]).rsample()  # [3, 2]
torch.testing.assert_close(p.log_prob(x), torch.as_tensor(stats.logistic.logpdf(x.numpy(), p.loc.numpy(), 2.0)))
print(f"log_px of three draws, {p.to_event(1).log_prob(x)}, is scipy's")
