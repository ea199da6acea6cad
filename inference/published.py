"""The published data sets: their original files, checksums, splits and labels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
import gzip
import io
from pathlib import Path
import re
import struct
import zipfile

import numpy as np

from inference.sources import IDX_TYPES, Arrays, Remote, Source, read_source
from inference.text import encode_text

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Content:
    """What a set holds, untreated.

    Attributes:
        name: The set's name.
        origin: Where it comes from and how it is split.
        arrays: Values by split, float32 ``[N, *X]``; of text, codes ``[n]`` that are still to be cut into windows.
        labels: Classes by split ``[N]``, or ``None``.
        levels: Number of gray levels, or ``None`` where the values are not gray.
        treatment: What becomes of the gray levels by default, a key of ``TREATMENTS``.
        alphabet: Characters of the codes, where the set is text.
    """

    name: str
    origin: str
    arrays: Arrays
    labels: Arrays | None = None
    levels: int | None = None
    treatment: str | None = None
    alphabet: str | None = None


def read_published(name: str, *, seed: int, folder: str | Path | None, download: bool) -> Content:
    """A set of ``PUBLISHED``, images flat, split by ``seed`` if need be; raises as ``read_source`` does."""
    arrays = read_source(SOURCES[name], folder=folder, download=download) if name in SOURCES else {}
    return PUBLISHED[name](arrays, seed)


def cut_rows(num_rows: int, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """Row numbers of the splits: ``sizes`` of them by permutation, and the rest as ``"train"``."""
    return cut_in_order(np.random.default_rng(seed).permutation(num_rows), sizes)


def cut_in_order(values: np.ndarray, sizes: dict[str, int]) -> Arrays:
    """The splits of ``values``: the first as ``"train"``, and ``sizes`` of them at the end, in that order."""
    train, *others = np.split(values, np.cumsum([len(values) - sum(sizes.values()), *sizes.values()])[:-1])
    return {"train": train, **dict(zip(sizes, others, strict=True))}


def _digits(_: Arrays, seed: int) -> Content:
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    rows = cut_rows(len(images), {"valid": 300, "test": 300}, seed)
    arrays = {split: np.float32(images[rows[split]]) for split in SPLITS}  # [N, 64]
    labels = {split: classes[rows[split]] for split in SPLITS}
    origin = f"scikit-learn's 8x8 digits, split at random with seed {seed}"
    return Content("digits", origin, arrays, labels, levels=17, treatment="half")


def _mnist(name: str, title: str, arrays: Arrays, seed: int) -> Content:
    images = _last_rows_valid(arrays["train"], arrays["test"])
    labels = _last_rows_valid(arrays["train_labels"], arrays["test_labels"])
    origin = f"{title} 28x28, its own test set, the last 10000 training images as validation set"
    return Content(name, origin, _flat(images), labels, levels=256, treatment="dynamic")


def _last_rows_valid(train: np.ndarray, test: np.ndarray) -> Arrays:
    return {"train": train[:-10000], "valid": train[-10000:], "test": test}


def _mnist_static(arrays: Arrays, seed: int) -> Content:
    bits = {split: np.unpackbits(arrays[split], axis=1, count=784) for split in SPLITS}  # [N, 784]
    return Content("mnist-static", "Larochelle's binarized MNIST 28x28, split as given", _flat(bits))


def _omniglot(arrays: Arrays, seed: int) -> Content:
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


def _frey_faces(arrays: Arrays, seed: int) -> Content:
    images = {split: arrays["images"][arrays[f"{split}_idx"]] for split in SPLITS}
    origin = "Frey faces 28x20, split at random once and for all"
    return Content("frey-faces", origin, _flat(images), levels=256)


def _tiny_shakespeare(arrays: Arrays, seed: int) -> Content:
    codes, alphabet = encode_text(arrays["text"].tobytes().decode("ascii"))
    twentieth = round(0.05 * len(codes))
    splits = cut_in_order(codes, {"valid": twentieth, "test": twentieth})
    origin = (
        "Tiny Shakespeare in windows of characters, the first 90 % of the text as training, the next 5 % as validation and "
        "the last 5 % as test set: our split, whose validation and test set together are the customary validation set"
    )
    return Content("tiny-shakespeare", origin, splits, alphabet=alphabet)


def _flat(arrays: Arrays) -> Arrays:
    return {split: np.float32(x.reshape(len(x), -1)) for split, x in arrays.items()}  # [N, D]


def parse_idx(content: bytes) -> np.ndarray:
    """Array of an idx file, the format of MNIST."""
    _, code, ndim = struct.unpack_from(">HBB", content)
    shape = struct.unpack_from(f">{ndim}I", content, 4)
    return np.frombuffer(content, IDX_TYPES[code], offset=4 + 4 * ndim).reshape(shape)


def _parse_idx_files(contents: dict[str, bytes]) -> Arrays:
    return {name: parse_idx(gzip.decompress(content)) for name, content in contents.items()}


def _parse_amat_files(contents: dict[str, bytes]) -> Arrays:
    return {name: _packed_bits(np.frombuffer(content, np.uint8)) for name, content in contents.items()}


def _parse_plain_files(contents: dict[str, bytes]) -> Arrays:
    return {name: np.frombuffer(content, np.uint8) for name, content in contents.items()}


def _packed_bits(text: np.ndarray) -> np.ndarray:
    bits = text[(text == ord("0")) | (text == ord("1"))] - ord("0")
    return np.packbits(bits.reshape(-1, 784), axis=1)  # [N, 98]


def _parse_frey(contents: dict[str, bytes]) -> Arrays:
    from scipy.io import loadmat

    try:
        pixels = np.uint8(loadmat(io.BytesIO(contents["images"]))["ff"].T)  # [N, 560]
    except Exception as error:  # no checksum guards loadmat here, and it raises whatever the bytes provoke
        raise ValueError(f"frey_rawface.mat must hold a matrix 'ff'; got {error!r}. Try later.") from error
    rows = cut_rows(len(pixels), {"valid": 200, "test": 200}, seed=0)
    return {f"{split}_idx": np.sort(chosen).astype(np.int16) for split, chosen in rows.items()} | {
        "images": pixels.reshape(-1, 28, 20)  # [N, 28, 20]
    }


def _parse_omniglot(contents: dict[str, bytes]) -> Arrays:
    images = {key: image for content in contents.values() for key, image in _drawings(content)}
    train = [key for key in sorted(images) if key[1] <= 15]
    test = [key for key in sorted(images) if key[1] > 15]
    return {
        "train": np.stack([images[key] for key in train]),
        "train_character": np.array([character for character, _ in train], np.int16),
        "test": np.stack([images[key] for key in test]),
        "test_character": np.array([character for character, _ in test], np.int16),
    }


def _drawings(content: bytes) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Images of an Omniglot archive by (character, drawer), which the files' names state."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for path in archive.namelist():
            if match := re.fullmatch(r"(?:.*/)?(\d{4})_(\d{2})\.png", path):
                yield (int(match[1]), int(match[2])), _reduced(archive.read(path))


def _reduced(png: bytes) -> np.ndarray:
    from PIL import Image

    ink = Image.open(io.BytesIO(png)).convert("L").point(lambda level: 255 - level)
    return np.asarray(ink.resize((28, 28), Image.Resampling.BICUBIC))  # [28, 28]


def _idx_source(file: str, bases: tuple[str, ...], gz_md5: dict[str, str], md5: dict[str, str]) -> Source:
    remotes = {
        name: Remote(tuple(f"{base}/{IDX_FILES[name]}-ubyte.gz" for base in bases), f"md5:{digest}")
        for name, digest in gz_md5.items()
    }
    return Source(file, {name: f"md5:{digest}" for name, digest in md5.items()}, remotes, _parse_idx_files)


IDX_FILES = {
    "train": "train-images-idx3",
    "train_labels": "train-labels-idx1",
    "test": "t10k-images-idx3",
    "test_labels": "t10k-labels-idx1",
}
OMNIGLOT_VALID = 1345
LAROCHELLE = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/binarized_mnist_{}.amat"
LAKE = "https://github.com/brendenlake/omniglot/raw/master/python/images_{}.zip"

SOURCES = {
    "mnist": _idx_source(
        "mnist.npz",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        {
            "train": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train_labels": "d53e105ee54ea40749a09fcbcd1e9432",
            "test": "9fb629c4189551a2d022fa330f9573f3",
            "test_labels": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        {
            "train": "6bbc9ace898e44ae57da46a324031adb",
            "train_labels": "a25bea736e30d166cdddb491f175f624",
            "test": "2646ac647ad5339dbf082846283269ea",
            "test_labels": "27ae3e4e09519cfbb04c329615203637",
        },
    ),
    "fashion-mnist": _idx_source(
        "fashion_mnist.npz",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
        {
            "train": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train_labels": "25c81989df183df01b3e8a0aad5dffbe",
            "test": "bef4ecab320f06d8554ea6380940ec79",
            "test_labels": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        {
            "train": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train_labels": "9018921c3c673c538a1fc5bad174d6f9",
            "test": "8181f5470baa50b63fa0f6fddb340f0a",
            "test_labels": "15d484375f8d13e6eb1aabb0c3f46965",
        },
    ),
    "mnist-static": Source(
        "mnist_static.npz",
        {
            "train": "sha256:e84f980b33169e08d3ef2b9f3057910d675aee4d4ec86b25937b437b36ca6e0c",
            "valid": "sha256:89664da3d3aa7641f1b45c126ea2d199aec965001920b244b32e84478ed08d98",
            "test": "sha256:06c599768d87ab9e16e97354b84f5e2fe75c2470edce787932c7a97d221347d7",
        },
        {
            "train": Remote((LAROCHELLE.format("train"),), "md5:db28b1a6ae0fe70cbd3da91acf46e477"),
            "valid": Remote((LAROCHELLE.format("valid"),), "md5:bf37822a04e94123630de6a7dfd9c9ef"),
            "test": Remote((LAROCHELLE.format("test"),), "md5:14e41ae11040adba6ab8cb291eda0dd8"),
        },
        _parse_amat_files,
    ),
    "omniglot-rebuilt": Source(
        "omniglot28_rebuilt.npz",
        {
            "train": "sha256:e1a38a8c7ea0aa1f3353c819d71fc8035c5999900731f1ba1503f5c86dbed881",
            "train_character": "sha256:a897f1a8764a5c294b7166f8097b69ecc86d485321e071927094753ce940b0f3",
            "test": "sha256:a0344ffd0dbf61919485e6f708691794682b7709109da47cd181a9ffd1fccf34",
            "test_character": "sha256:0453ee57fc7bc4daf60bb4c4baa05a34dce5690542d1c9beb944c22b120dd07f",
        },
        {
            "background": Remote((LAKE.format("background"),), "md5:68d2efa1b9178cc56df9314c21c6e718"),
            "evaluation": Remote((LAKE.format("evaluation"),), "md5:6b91aef0f799c5bb55b94e3f2daec811"),
        },
        _parse_omniglot,
    ),
    "frey-faces": Source(
        "frey_faces.npz",
        {
            "images": "sha256:c943677a3bcb83ed2de1207d4355c360cabfee597a538f9735ec3254886c365f",
            "train_idx": "sha256:a868dfc00df5d90b25ce78ff3622be980923fc757a8b7e143585b425478f6170",
            "valid_idx": "sha256:6af2f5db7cd6e37253a318d9d680c432420ba2dcee96f65fd3a83c71b38b8e95",
            "test_idx": "sha256:31a0dbb557599f6232fedeb927f78acd093d1bde78c841b101528e76148c9576",
        },
        {
            "images": Remote(
                (
                    "https://cs.nyu.edu/~roweis/data/frey_rawface.mat",
                    "https://github.com/SheffieldML/GPmat/raw/master/datasets/data/frey_rawface.mat",
                )
            )
        },
        _parse_frey,
    ),
    "tiny-shakespeare": Source(
        "tiny_shakespeare.npz",
        {"text": "sha256:ba03dc2e502264a594d872c18427fa18ec8aeb84cc303517664eac785a8d9fb3"},
        {
            "text": Remote(
                ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
                "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            )
        },
        _parse_plain_files,
    ),
}

PUBLISHED: dict[str, Callable[[Arrays, int], Content]] = {
    "digits": _digits,
    "mnist": partial(_mnist, "mnist", "MNIST"),
    "mnist-static": _mnist_static,
    "fashion-mnist": partial(_mnist, "fashion-mnist", "Fashion-MNIST"),
    "omniglot-rebuilt": _omniglot,
    "frey-faces": _frey_faces,
    "tiny-shakespeare": _tiny_shakespeare,
}
