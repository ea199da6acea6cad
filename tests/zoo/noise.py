"""Normal densities whose draws take two values, and the draws that a guide makes."""

import pyro.distributions as dist
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
import torch

from pyro_lvm import Pair

OFFSETS = (-0.7, 1.1)  # of different size, as q(z|x) would otherwise be the same for both


class TwoValued(dist.Normal):
    """A normal density whose draws lie at one of two offsets, the same one for all elements of an event, whose sizes are told apart."""

    event_dims = 0

    @classmethod
    def of(cls, fn):
        """Return the distribution with other draws, or the same one if it is not normal."""
        dims = 0
        base = fn
        while isinstance(base, dist.Independent):
            dims, base = dims + base.reinterpreted_batch_ndims, base.base_dist
        if type(base) is not dist.Normal:
            return fn
        new = cls(base.loc, base.scale, validate_args=False)
        new.event_dims = dims
        return new.to_event(dims)

    def expand(self, batch_shape, _instance=None):
        new = super().expand(batch_shape, _instance)
        new.event_dims = self.event_dims
        return new

    def at(self, offsets):
        """Return the values at offsets that have the shape of a draw without its event dimensions."""
        event = self.loc.shape[self.loc.dim() - self.event_dims :]
        sizes = 1 + 0.3 * torch.arange(event.numel(), dtype=self.loc.dtype).reshape(event)
        return self.loc + self.scale * offsets.reshape(*offsets.shape, *[1] * self.event_dims) * sizes

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008
        shape = self._extended_shape(sample_shape)
        which = torch.rand(shape[: len(shape) - self.event_dims]) < 0.5
        return self.at(torch.where(which, *OFFSETS).to(self.loc.dtype))

    def sample(self, sample_shape=torch.Size()):  # noqa: B008
        with torch.no_grad():
            return self.rsample(sample_shape)

    def values(self):
        """Return both values of a draw."""
        return [self.at(torch.full(self._extended_shape()[: self.loc.dim() - self.event_dims], o, dtype=self.loc.dtype)) for o in OFFSETS]


class TwoValuedNoise(Messenger):
    """Let the normal latents of a guide be drawn from two values."""

    def _pyro_sample(self, msg):
        if not msg["is_observed"]:
            msg["fn"] = TwoValued.of(msg["fn"])


class Recorder(Messenger):
    """Keep the unobserved values of every run of a guide, in the order of the runs."""

    def __init__(self):
        super().__init__()
        self.runs = []

    def __enter__(self):
        self.runs.append({})
        return super().__enter__()

    def _pyro_post_sample(self, msg):
        if not msg["is_observed"] and not site_is_subsample(msg):
            self.runs[-1][msg["name"]] = (msg["fn"], msg["value"])


def with_handler(pair, handler):
    """Return the pair with the guide inside a handler."""

    def guide(*batch):
        with handler:
            return pair.guide(*batch)

    return Pair(pair.model, guide)
