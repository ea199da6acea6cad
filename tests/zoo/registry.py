"""Entries of the zoo, and the data that they are made for."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

ENTRIES = {}
N, D, T = 40, 6, 4  # data, features, steps of a sequence


@dataclass(frozen=True)
class Entry:
    """A pair that is made anew by each call of ``make()``, and its batch.

    Attributes:
        name: Name of the function that makes the pair.
        make: Makes a pair after torch was seeded.
        batch: Makes the batch, a tuple of tensors.
        refusal: A word of the message, if no likelihood per datum exists.
        whole: Whether the guide's parameters belong to the rows of the batch, so that it runs on all of them only.
        double: Whether the programs run in double precision if the networks that they call and their data do.
    """

    name: str
    make: Callable
    batch: Callable
    refusal: str | None = None
    whole: bool = False
    double: bool = True

    def pair(self, seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.make()


def entry(batch, **options):
    """Add the function that makes a pair to the zoo."""

    def add(make):
        name = make.__name__.strip("_")
        if name in ENTRIES:
            raise ValueError(f"two entries are named {name}")
        ENTRIES[name] = Entry(name, make, batch, **options)
        return make

    return add


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


def real(n=N, features=D):
    return (torch.randn(n, features, generator=generator()),)


def scalars():
    return (torch.randn(N, generator=generator()),)


def binary():
    return (torch.rand(N, D, generator=generator()).round(),)


def counts():
    return (torch.randint(0, 5, (N, D), generator=generator()).float(),)


def images():
    return (torch.rand(N, 1, 8, 8, generator=generator()).round(),)


def labelled():
    """Features and labels of three classes."""
    return real() + (torch.randint(3, (N,), generator=generator()),)


def one_hot():
    x, y = labelled()
    return x, torch.nn.functional.one_hot(y, 3).float()


def masked():
    """Features and whether a row is seen."""
    return real() + (torch.rand(N, generator=generator()) < 0.6,)


def sequences():
    return (torch.randn(N, T, generator=generator()),)


def two_modalities():
    return real() + (torch.randint(0, 4, (N, 2), generator=generator()).float(),)
