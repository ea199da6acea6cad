"""The published data sets: downloads, parsers, checksums, cache and folder."""

from dataclasses import replace
import gzip
import io
import os
from pathlib import Path
import struct
import zipfile

import numpy as np
from PIL import Image
import pytest
from scipy.io import savemat
from test_data import SPLITS, all_rows, sorted_rows
import torch

from inference import files
from inference.data import datasets as published
from inference.data import download as sources
from inference.data.download import Remote, checksum
from inference.data.load import load_data
from inference.data.originals import SOURCES

REAL_FILES = os.environ.get("PYRO_LVM_DATA")
real_fetch = sources.fetch


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    """An empty cache, no folder and no network."""
    monkeypatch.delenv("PYRO_LVM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    serve(monkeypatch, {})
    return tmp_path / "xdg" / "pyro-lvm"


def serve(monkeypatch, contents: dict[str, bytes]) -> list[str]:
    """Let the network hold ``contents`` by the last part of their URL; returns what was asked for."""
    asked = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        if url.rpartition("/")[2] not in contents:
            raise OSError("no network")
        return contents[url.rpartition("/")[2]]

    monkeypatch.setattr(sources, "fetch", fetch)
    return asked


def pin(monkeypatch, name: str, arrays: dict[str, np.ndarray], contents: dict[str, bytes]) -> None:
    """Let a published set consist of ``arrays``, and of original files ``contents`` by their key."""
    source = SOURCES[name]
    remotes = {key: Remote(source.remotes[key].urls, checksum(contents[key], like="md5")) for key in contents}
    checksums = {key: checksum(array, like="sha256") for key, array in arrays.items()}
    monkeypatch.setitem(SOURCES, name, replace(source, checksums=checksums, remotes=remotes))


def idx_gz(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


@pytest.fixture
def tiny_mnist(monkeypatch) -> dict[str, np.ndarray]:
    """MNIST of 2x3 pixels, 10007 to train and 4 to test, served by the network."""
    rng = np.random.default_rng(1)
    arrays = {
        "train": rng.integers(256, size=(10007, 2, 3), dtype=np.uint8),
        "train_labels": rng.integers(10, size=10007, dtype=np.uint8),
        "test": rng.integers(256, size=(4, 2, 3), dtype=np.uint8),
        "test_labels": rng.integers(10, size=4, dtype=np.uint8),
    }
    contents = {name: idx_gz(array) for name, array in arrays.items()}
    pin(monkeypatch, "mnist", arrays, contents)
    files = {name: remote.urls[0].rpartition("/")[2] for name, remote in SOURCES["mnist"].remotes.items()}
    serve(monkeypatch, {files[name]: content for name, content in contents.items()})
    return arrays


def test_mnist_is_downloaded_once_and_split_at_its_last_ten_thousand(tiny_mnist, cache, monkeypatch):
    flat = load_data("mnist", binarize=None)
    asked = serve(monkeypatch, {})
    data = load_data("mnist", binarize=None, shape=(2, 3))
    assert not asked and [file.name for file in cache.iterdir()] == ["mnist.npz"]
    assert flat.test.shape == (4, 6) and torch.equal(all_rows(flat), all_rows(data).flatten(1))
    assert np.array_equal(torch.cat([data.train, data.valid]), tiny_mnist["train"]) and len(data.train) == 7
    assert np.array_equal(torch.cat([data.labels["train"], data.labels["valid"]]), tiny_mnist["train_labels"])
    assert np.array_equal(data.test, tiny_mnist["test"])
    assert np.array_equal(data.labels["test"], tiny_mnist["test_labels"])


def test_the_seed_decides_the_draws_of_a_set_with_a_split(tiny_mnist):
    first, again, other = (load_data("mnist", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.valid, again.valid) and not torch.equal(first.valid, other.valid)
    assert torch.equal(first.train, other.train) and "afresh for each training batch" in first.description


def test_a_folder_comes_before_the_cache_and_is_verified(tiny_mnist, tmp_path, monkeypatch):
    asked = serve(monkeypatch, {})
    np.savez(tmp_path / "mnist.npz", **tiny_mnist)
    monkeypatch.setenv("PYRO_LVM_DATA", str(tmp_path))
    assert len(load_data("mnist").test) == 4
    tiny_mnist["test"][3, 1, 2] ^= 1
    np.savez(tmp_path / "mnist.npz", **tiny_mnist)
    with pytest.raises(ValueError, match="'test' of .*mnist.npz must have checksum sha256:.*; got sha256:"):
        load_data("mnist", folder=tmp_path)
    np.savez(tmp_path / "mnist.npz", train=tiny_mnist["train"])
    with pytest.raises(ValueError, match="'train_labels'.*got no such array"):
        load_data("mnist")
    (tmp_path / "mnist.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="damaged"):
        load_data("mnist")
    assert not asked


def test_a_second_mirror_is_tried_and_wrong_bytes_leave_nothing_behind(tiny_mnist, cache, monkeypatch):
    contents = {name: idx_gz(array) for name, array in tiny_mnist.items()}
    source = SOURCES["mnist"]
    remotes = {name: replace(source.remotes[name], urls=("gone", f"mirror/{name}")) for name in contents}
    monkeypatch.setitem(SOURCES, "mnist", replace(source, remotes=remotes))
    serve(monkeypatch, contents | {"test_labels": b"not the file"})
    with pytest.raises(ConnectionError, match="gone: .*no network.*labels: expected checksum md5:.*got md5:"):
        load_data("mnist")
    assert not cache.exists()
    serve(monkeypatch, contents)
    assert len(load_data("mnist").test) == 4


def test_absent_files_and_folders_say_where_to_put_them(cache):
    with pytest.raises(FileNotFoundError, match=f"mnist.npz must lie in one of {cache}.*PYRO_LVM_DATA"):
        load_data("mnist", download=False)
    with pytest.raises(ConnectionError, match="no network.*PYRO_LVM_DATA"):
        load_data("mnist")
    with pytest.raises(FileNotFoundError, match="must name an existing folder; got '/no/such'"):
        load_data("mnist", folder="/no/such")


def test_an_interrupted_save_leaves_nothing_behind(tiny_mnist, cache, monkeypatch):
    def replace(*paths: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(OSError, match="disk full"):
        load_data("mnist")
    assert list(cache.iterdir()) == []


def test_static_mnist_is_parsed_from_text(monkeypatch):
    bits = {split: np.random.default_rng(n).integers(2, size=(n, 784)) for n, split in enumerate(SPLITS, 2)}
    text = {split: "".join(" ".join(map(str, row)) + "\n" for row in x) for split, x in bits.items()}
    contents = {split: lines.encode() for split, lines in text.items()}
    pin(monkeypatch, "mnist-static", {s: np.packbits(x, axis=1) for s, x in bits.items()}, contents)
    serve(monkeypatch, {f"binarized_mnist_{split}.amat": contents[split] for split in SPLITS})
    data = load_data("mnist-static")
    assert all(np.array_equal(getattr(data, split), bits[split]) for split in SPLITS)
    with pytest.raises(ValueError, match="'dynamic' needs gray levels"):
        load_data("mnist-static", binarize="dynamic")


def test_frey_faces_are_parsed_from_matlab_s_format_and_split_as_pinned(monkeypatch):
    frames = np.random.default_rng(0).integers(256, size=(560, 1965), dtype=np.uint8)
    file = io.BytesIO()
    savemat(file, {"ff": frames})
    source, images = SOURCES["frey-faces"], frames.T.reshape(-1, 28, 20)
    checksums = source.checksums | {"images": checksum(images, like="sha256")}
    monkeypatch.setitem(SOURCES, "frey-faces", replace(source, checksums=checksums))
    serve(monkeypatch, {"frey_rawface.mat": file.getvalue()})
    data = load_data("frey-faces")
    assert [len(getattr(data, split)) for split in SPLITS] == [1565, 200, 200] and data.transform is None
    np.testing.assert_array_equal(sorted_rows(all_rows(data)), sorted_rows(frames.T))


def test_a_page_instead_of_frey_faces_is_refused(monkeypatch, cache):
    serve(monkeypatch, {"frey_rawface.mat": b"<html>403 Forbidden</html>" * 10})
    with pytest.raises(ValueError, match="must hold a matrix 'ff'"):
        load_data("frey-faces")
    assert not cache.exists()


def drawing(character: int, drawer: int) -> np.ndarray:
    """Paper 255 and ink 0 on a 7 by 7 grid of blocks of 15 pixels, which spells the two numbers in binary."""
    digits = np.array([list(f"{number:07b}") for number in (character, drawer)]) == "1"
    blocks = np.zeros((7, 7), bool)
    blocks[[1, 4]] = digits
    return np.uint8(255 * ~np.kron(blocks, np.ones((15, 15), bool)))  # [105, 105]


def omniglot_zip(characters: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("__MACOSX/._0001_01.png", b"no image")
        for character in characters:
            for drawer in range(20, 0, -1):
                png = io.BytesIO()
                Image.fromarray(drawing(character, drawer)).convert("1").save(png, format="png")
                archive.writestr(f"images/Latin/character01/{character:04d}_{drawer:02d}.png", png.getvalue())
    return file.getvalue()


def test_omniglot_is_rebuilt_from_its_archives(monkeypatch):
    contents = {"background": omniglot_zip((2, 1)), "evaluation": omniglot_zip((3,))}
    pin(monkeypatch, "omniglot-rebuilt", SOURCES["omniglot-rebuilt"].parse(contents), contents)
    monkeypatch.setattr(published, "OMNIGLOT_VALID", 5)
    serve(monkeypatch, {f"images_{part}.zip": content for part, content in contents.items()})
    data = load_data("omniglot-rebuilt", binarize=None)
    assert [len(getattr(data, split)) for split in SPLITS] == [40, 5, 15]
    assert data.labels["test"].tolist() == [1] * 5 + [2] * 5 + [3] * 5
    spelled = {}
    for split in SPLITS:
        blocks = getattr(data, split).reshape(-1, 7, 4, 7, 4).mean((2, 4)) > 127
        spelled[split] = (blocks[:, [1, 4]].long() @ 2 ** torch.arange(6, -1, -1)).tolist()
        assert blocks.sum() == blocks[:, [1, 4]].sum()
        assert [character for character, _ in spelled[split]] == data.labels[split].tolist()
    assert spelled["test"] == [[character, drawer] for character in (1, 2, 3) for drawer in range(16, 21)]
    seen = sorted(spelled["train"] + spelled["valid"])
    assert seen == [[character, drawer] for character in (1, 2, 3) for drawer in range(1, 16)]


def test_fetch_returns_the_bytes_and_raises_what_the_downloader_expects(tmp_path):
    content = bytes(range(256)) * 1000
    (tmp_path / "file").write_bytes(content)
    assert real_fetch((tmp_path / "file").as_uri()) == content
    with pytest.raises(OSError, match="absent"):
        real_fetch((tmp_path / "absent").as_uri())


@pytest.mark.skipif(not REAL_FILES, reason="needs PYRO_LVM_DATA")
@pytest.mark.parametrize(
    ("name", "top", "train", "test"),
    [
        ("mnist", 255, 0.13066, 0.13251),
        ("omniglot-rebuilt", 255, 0.08289, 0.08187),
        ("mnist-static", 1, (5 * 0.13056 + 0.13113) / 6, 0.13251),
    ],
)
def test_real_images_have_their_mean_pixel(name, top, train, test):
    data = load_data(name, binarize=None, folder=REAL_FILES, download=False)
    seen = torch.cat([data.train, data.valid]).double().mean() / top
    assert abs(seen - train) < 1e-5 and abs(data.test.double().mean() / top - test) < 1e-5


@pytest.mark.skipif(not REAL_FILES, reason="needs PYRO_LVM_DATA")
def test_real_frey_faces_have_their_mean_pixel():
    data = load_data("frey-faces", folder=REAL_FILES, download=False)
    assert abs(all_rows(data).double().mean() / 255 - 0.60573) < 1e-5


@pytest.mark.skipif(not REAL_FILES, reason="needs PYRO_LVM_DATA")
def test_real_static_mnist_is_the_test_set_of_mnist_in_order_of_class():
    gray = load_data("mnist", binarize=None, folder=REAL_FILES, download=False)
    binary = load_data("mnist-static", folder=REAL_FILES, download=False).test
    aligned = gray.test[gray.labels["test"].argsort(stable=True)]
    assert (binary[aligned == 0] == 0).all() and (binary[aligned == 255] == 1).all()
