"""Entries of the bench: a pair, its data, and log p(x) of every datum."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyro
import torch
from torch import Tensor

from pyro_lvm import Pair

ENTRIES = {}
N = 16  # data of an entry
RIGHT, RIGHT_OR_MARKED = "right", "right or marked"
HARMLESS = ("exact", "good")  # guides with which a thousand draws are enough


@dataclass(frozen=True)
class Known:
    """A pair, its data, and what they are worth.

    Attributes:
        pair: Pyro programs of float64, unless the entry says otherwise.
        batch: Arguments of the pair, observations first.
        log_px: log p(x) of each datum in nats, float64, shape ``[N]``.
        slack: Half the width of the bracket where log p(x) is not known exactly but between bounds.
    """

    pair: object
    batch: tuple[Tensor, ...]
    log_px: Tensor
    slack: float = 0.0


@dataclass(frozen=True)
class Entry:
    """A likelihood that is known, and a guide.

    Attributes:
        name: The model, then the guide.
        make: Makes the pair and its data, always the same.
        guide: Kind of the guide: exact, good, narrow, wide, shifted, one mode, light tails, small support, factorized, flow, ...
        source: What log p(x) is known from.
        must: What a trustworthy evaluator says: the right figure, within its interval; or this, or a mark.
        pareto_k: The true Pareto shape of the weights under the guide, where it is known.
        exceptions: Share of the data that may be wrong without a mark, where statistics demand it.
    """

    name: str
    make: Callable[[], Known]
    guide: str
    source: str
    must: str
    pareto_k: float | None = None
    exceptions: float = 0.0

    @cached_property
    def known(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.make()


def entry(name, make, *, guide, source, must=None, **options):
    """Add an entry to the bench; by default, only exact and good guides must be scored rightly."""
    if name in ENTRIES:
        raise ValueError(f"two entries are named {name}")
    must = must or (RIGHT if guide in HARMLESS else RIGHT_OR_MARKED)
    ENTRIES[name] = Entry(name, make, guide, source, must, **options)


def pair_of(prior, likelihood, guide):
    """A pair with one latent: a distribution, and functions of z and of all arguments, of which the model sees the first only."""

    def model(x, *further):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", likelihood(z), obs=x)

    def guided(x, *further):
        with pyro.plate("data", len(x)):
            pyro.sample("z", guide(x, *further))

    return Pair(model, guided)


def known(pair, x, log_px, *further):
    """What is known of a pair that observes its first argument, an array."""
    return Known(pair, (torch.as_tensor(x), *further), tensor(log_px))


def generator(seed):
    return np.random.default_rng(seed)


def tensor(values):
    return torch.tensor(np.asarray(values, dtype=np.float64))
