"""Parts under test, built anew for every check, far from their initial weights."""

from collections.abc import Callable
from dataclasses import dataclass

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
import torch
from torch import Size, Tensor, nn

from pyro_lvm.checks import check_callable
from pyro_lvm.sites import innermost, is_discrete
from pyro_lvm.testing.failures import working

_CALL = "Correct its forward."


@dataclass(frozen=True)
class Subject:
    """A part under test.

    Attributes:
        name: Name of its class.
        build: Builds it.
        inputs: What it is called with: nothing for priors, data ``[B, *X]`` for encoders, latents ``[B, *Z]`` for likelihoods.
        spread: Standard deviation of the noise that is added to its parameters.
        seed: Seed of the weights, the noise and the draws.
        tolerance: By how much totals and means may be off, besides the errors of their estimates.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[Tensor, ...]
    spread: float
    seed: int
    tolerance: float

    @property
    def lead(self) -> Size:
        """The batch shape that its distribution must have."""
        return Size(x.shape[0] for x in self.inputs)

    def fresh(self, offset: int = 0) -> nn.Module:
        """Build the part in float64 and in evaluation mode, with parameters far from their start."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed + offset)
            with working(self.name, "building the part", "Correct its __init__."):
                part = self.build()
            stir(part, self.spread)
        return part.double().eval()

    def call(self, part: nn.Module, *inputs: Tensor) -> TorchDistribution:
        """Call the part, with its own inputs unless others are given, in the dtype and on the device of its weights."""
        given = inputs or self.inputs
        own = next((t for t in (*part.parameters(), *part.buffers()) if t.is_floating_point()), None)
        if own is not None:
            given = tuple(x.to(own.device, own.dtype if x.is_floating_point() else x.dtype) for x in given)
        with working(self.name, "a call", _CALL):
            return part(*given)

    def draws(self, law: TorchDistribution, *sample_shape: int) -> Tensor:
        """Draw from a distribution with the seed of the subject."""
        with torch.random.fork_rng(), torch.no_grad(), working(self.name, "drawing", "Correct sample and rsample of its distribution."):
            torch.manual_seed(self.seed)
            return law.sample(Size(sample_shape))

    def log_prob(self, law: TorchDistribution, value: Tensor) -> Tensor:
        """Return log densities."""
        with working(self.name, "log_prob of a value of its own", "Correct log_prob of its distribution."):
            return law.log_prob(value)


def subject_of(build: Callable[[], nn.Module], inputs: tuple[Tensor, ...], spread: float, seed: int, tolerance: float) -> Subject:
    """Return a part under test.

    Raises:
        TypeError: If ``build`` is no function that builds modules.
        ValueError: If it returns the same part again, or the inputs have fewer than two rows.
    """
    remedy = "Pass a function that builds the part, such as lambda: MyPrior(4)."
    check_callable(remedy, build=build)
    part = None if isinstance(build, nn.Module) else build()
    if not isinstance(part, nn.Module):
        got = "a module itself" if part is None else f"one that returns {type(part).__name__}"
        raise TypeError(f"build must be a function that returns a torch.nn.Module; got {got}. {remedy}")
    if part is build():
        raise ValueError(f"build must build another part at each call; got the same {type(part).__name__} twice. {remedy}")
    if any(len(x) < 2 for x in inputs):
        raise ValueError("a part is checked on at least 2 rows; got fewer. Pass more rows.")
    return Subject(type(part).__name__, build, inputs, spread, seed, tolerance)


@torch.no_grad()
def stir(part: nn.Module, spread: float) -> None:
    """Add noise to all parameters, so that none is zero and no flow is the identity."""
    for parameter in part.parameters():
        parameter.add_(spread * torch.randn_like(parameter))


def is_certain(law: TorchDistribution) -> bool:
    """Whether a distribution is a point mass."""
    return isinstance(innermost(law), dist.Delta)


def has_masses(law: TorchDistribution) -> bool:
    """Whether a distribution is of discrete values."""
    return is_discrete(law) or is_certain(law)
