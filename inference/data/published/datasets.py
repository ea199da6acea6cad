"""The published data sets: their values, splits and labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inference.data.columns import Column
from inference.data.published.catalogue import DATASETS
from inference.data.published.download import read_source
from inference.data.published.originals import SOURCES
from inference.data.readers import Arrays
from inference.data.splits import SPLITS, cut_in_order, cut_rows
from inference.data.text import encode_text
from pyro_lvm.rows.values import Values


@dataclass(frozen=True)
class Content:
    """The content of a data set before its values are treated.

    Attributes:
        name: Name of the data set.
        origin: Where the data come from and how they are split.
        arrays: Values by split, of any dtype, ``[N, *X]``; for text, codes ``[n]`` before they are cut into windows.
        labels: Classes by split, ``[N]``, or ``None``.
        given: Conditions by name and split, of any dtype, ``[N]`` or ``[N, *C]``.
        levels: Number of gray levels, or ``None`` if the values are not gray levels.
        treatment: How gray levels are treated by default, a key of ``TREATMENTS``.
        alphabet: Characters of the codes, if the data are text.
        columns: Names of the columns, if the data are a table that names them.
        kinds: What the numbers of each column are, if the data are a table that is read as it is.
    """

    name: str
    origin: str
    arrays: Mapping[str, np.ndarray | Values]
    labels: Arrays | None = None
    given: Mapping[str, Arrays] = field(default_factory=dict)
    levels: int | None = None
    treatment: str | None = None
    alphabet: str | None = None
    columns: tuple[str, ...] | None = None
    kinds: tuple[Column, ...] | None = None


def read_published(name: str, *, seed: int, folder: str | Path | None, download: bool) -> Content:
    """Read a data set of ``DATASETS`` with flat images, using ``seed`` for any random split; raises as ``read_source`` does."""
    arrays = read_source(SOURCES[name], folder=folder, download=download) if name in SOURCES else {}
    return DATASETS.build(name, {}, arrays=arrays, seed=seed)


def digits(seed: int) -> Content:
    """scikit-learn's digits."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    rows = cut_rows(len(images), {"valid": 300, "test": 300}, seed)
    arrays = {split: images[rows[split]].astype(np.float32) for split in SPLITS}  # [N, 64]
    labels = {split: classes[rows[split]] for split in SPLITS}
    origin = f"scikit-learn's 8x8 digits, split at random with seed {seed}"
    return Content("digits", origin, arrays, labels, levels=17, treatment="half")


def mnist(name: str, title: str, arrays: Arrays) -> Content:
    """MNIST, or a data set of its form."""
    images = _last_rows_valid(arrays["train"], arrays["test"])
    labels = _last_rows_valid(arrays["train_labels"], arrays["test_labels"])
    origin = f"{title} 28x28, its own test set, the last 10000 training images as validation set"
    return Content(name, origin, _flat(images), labels, levels=256, treatment="dynamic")


def _last_rows_valid(train: np.ndarray, test: np.ndarray) -> Arrays:
    return {"train": train[:-10000], "valid": train[-10000:], "test": test}


def mnist_static(arrays: Arrays) -> Content:
    """MNIST, binarized once and for all."""
    bits = {split: np.unpackbits(arrays[split], axis=1, count=784) for split in SPLITS}  # [N, 784]
    return Content("mnist-static", "Larochelle's binarized MNIST 28x28, split as given", _flat(bits))


def omniglot(arrays: Arrays, seed: int) -> Content:
    """Omniglot at 28 by 28 pixels."""
    rows = cut_rows(len(arrays["train"]), {"valid": OMNIGLOT_VALID}, seed)
    images = {split: arrays["train"][chosen] for split, chosen in rows.items()} | {"test": arrays["test"]}
    characters = {split: arrays["train_character"][chosen] for split, chosen in rows.items()}
    return Content(
        "omniglot-rebuilt",
        f"Omniglot reduced to 28x28, drawers 16 to 20 as test set, validation set drawn with seed {seed}",
        _flat(images),
        characters | {"test": arrays["test_character"]},
        levels=256,
        treatment="dynamic",
    )


def frey_faces(arrays: Arrays) -> Content:
    """Frey faces."""
    images = {split: arrays["images"][arrays[f"{split}_idx"]] for split in SPLITS}
    origin = "Frey faces 28x20, split at random once and for all"
    return Content("frey-faces", origin, _flat(images), levels=256)


def tiny_shakespeare(arrays: Arrays) -> Content:
    """Tiny Shakespeare in windows of characters."""
    codes, alphabet = encode_text(arrays["text"].tobytes().decode("ascii"))
    twentieth = round(0.05 * len(codes))
    splits = cut_in_order(codes, {"valid": twentieth, "test": twentieth})
    origin = (
        "Tiny Shakespeare in windows of characters, the first 90 % of the text as training, the next 5 % as validation and "
        "the last 5 % as test set: our split, whose validation and test set together are the customary validation set"
    )
    return Content("tiny-shakespeare", origin, splits, alphabet=alphabet)


def _flat(arrays: Arrays) -> Arrays:
    return {split: x.reshape(len(x), -1) for split, x in arrays.items()}  # [N, D]


OMNIGLOT_VALID = 1345
