"""The original files of the published data sets: their URLs, checksums and parsers."""

from collections.abc import Iterator
import gzip
import io
import re
import struct
import zipfile

import numpy as np

from inference.data.published.download import IDX_TYPES, Remote, Source
from inference.data.readers import Arrays
from inference.data.splits import cut_rows


def parse_idx(content: bytes) -> np.ndarray:
    """Parse an idx file, the format of MNIST, as an array."""
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
        pixels = np.asarray(loadmat(io.BytesIO(contents["images"]))["ff"].T, np.uint8)  # [N, 560]
    except Exception as error:  # the bytes have no checksum, so loadmat may raise any error
        raise ValueError(f"frey_rawface.mat must hold a matrix 'ff'; got {error!r}. Try again later.") from error
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
    """Yield the images of an Omniglot archive by (character, drawer), as stated in the file names."""
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
        name: Remote(tuple(f"{base}/{IDX_FILES[name]}-ubyte.gz" for base in bases), f"md5:{digest}") for name, digest in gz_md5.items()
    }
    return Source(file, {name: f"md5:{digest}" for name, digest in md5.items()}, remotes, _parse_idx_files)


IDX_FILES = {
    "train": "train-images-idx3",
    "train_labels": "train-labels-idx1",
    "test": "t10k-images-idx3",
    "test_labels": "t10k-labels-idx1",
}
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
