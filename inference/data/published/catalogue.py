"""The published data sets by name; a file of one's own registers another with the same decorator. Nothing here imports torch."""

from typing import TYPE_CHECKING

from inference.registry import Registry

if TYPE_CHECKING:
    from inference.data.published.datasets import Content
    from inference.data.readers import Arrays

DATASETS = Registry(
    "source", given={"arrays": "arrays of the original files by name, if these are known", "seed": "the seed of random splits"}
)
"""Data sets: a builder returns a :class:`~inference.data.published.datasets.Content`, with flat images."""


@DATASETS.register("digits")
def _digits(seed: int) -> "Content":
    from inference.data.published.datasets import digits

    return digits(seed)


@DATASETS.register("mnist")
def _mnist(arrays: "Arrays") -> "Content":
    from inference.data.published.datasets import mnist

    return mnist("mnist", "MNIST", arrays)


@DATASETS.register("mnist-static")
def _mnist_static(arrays: "Arrays") -> "Content":
    from inference.data.published.datasets import mnist_static

    return mnist_static(arrays)


@DATASETS.register("fashion-mnist")
def _fashion_mnist(arrays: "Arrays") -> "Content":
    from inference.data.published.datasets import mnist

    return mnist("fashion-mnist", "Fashion-MNIST", arrays)


@DATASETS.register("omniglot-rebuilt")
def _omniglot(arrays: "Arrays", seed: int) -> "Content":
    from inference.data.published.datasets import omniglot

    return omniglot(arrays, seed)


@DATASETS.register("frey-faces")
def _frey_faces(arrays: "Arrays") -> "Content":
    from inference.data.published.datasets import frey_faces

    return frey_faces(arrays)


@DATASETS.register("tiny-shakespeare")
def _tiny_shakespeare(arrays: "Arrays") -> "Content":
    from inference.data.published.datasets import tiny_shakespeare

    return tiny_shakespeare(arrays)
