"""The published data sets: how each is parsed and split."""

from dataclasses import replace
import io
import zipfile

from internet import REAL_FILES, pin, serve
import numpy as np
from PIL import Image
import pytest
from scipy.io import savemat
from splits import SPLITS, all_rows, sorted_rows
import torch

from inference.data.load import load_data
from inference.data.published import datasets as published
from inference.data.published.download import checksum
from inference.data.published.originals import SOURCES

pytestmark = pytest.mark.usefixtures("cache")


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


def test_frey_faces_are_parsed_from_a_matlab_file_and_split_as_pinned(monkeypatch):
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


# The real files


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
