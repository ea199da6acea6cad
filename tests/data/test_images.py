"""Folders of images: order, shapes, labels, treatments, and what is refused."""

import sys

import numpy as np
from PIL import Image
import pytest
from splits import SPLITS
import torch

from inference.data.load import load_data
from inference.data.media import images
from inference.new_rows.reading import read_alike
from inference.recipes.build import build_model
from inference.recipes.options import model_options
from pyro_lvm.rows.lazy import Rows

RNG = np.random.default_rng(0)
GRAYS = RNG.integers(256, size=(20, 6, 4), dtype=np.uint8)
COLOURS = RNG.integers(256, size=(20, 6, 4, 3), dtype=np.uint8)


def save(folder, pixels, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for place, one in enumerate(pixels):
        Image.fromarray(one).save(folder / f"{place:02d}{suffix}")
    return folder


@pytest.mark.parametrize(("pixels", "rows"), [(GRAYS, GRAYS[:, None]), (COLOURS, COLOURS.transpose(0, 3, 1, 2))], ids=["gray", "colour"])
def test_images_are_the_rows_of_an_array_of_bytes(pixels, rows, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    data, expected = load_data(save(tmp_path / "images", pixels)), load_data(rows)
    assert data.train.shape[1:] == rows.shape[1:] and data.labels is None
    assert all(torch.equal(data.batch(split)[0], expected.batch(split)[0]) for split in SPLITS)
    binary = load_data(tmp_path / "images", binarize="half", shape=(rows[0].size,))
    assert torch.equal(binary.test, (expected.test > 127.5).float().flatten(1))
    pair = build_model(model_options()(latent_dim=2, hidden=(4,), likelihood="discretized-logistic"), data.train)
    new = read_alike(tmp_path / "images", data, pair)
    assert torch.equal(new.x, torch.from_numpy(rows).float())


def test_photographs_are_upright_and_black_and_white_is_binary(tmp_path):
    smooth = np.add.outer(np.arange(6), np.arange(4)).astype(np.uint8) * 20
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was turned by a quarter
    for place in range(10):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(smooth).save(tmp_path / "photos" / f"{place}.JPG", quality=100, exif=turned)
    x = load_data(tmp_path / "photos").train[0, 0]
    assert x.shape == (4, 6) and (x - torch.from_numpy(np.rot90(smooth, -1).copy())).abs().max() <= 3
    bits = load_data(save(tmp_path / "bits", GRAYS > 127))
    assert set(bits.train.unique().tolist()) == {0.0, 1.0}


def test_subfolders_are_labels(tmp_path):
    save(tmp_path / "dog", GRAYS[10:])
    save(tmp_path / "cat", GRAYS[:10] // 2)
    data = load_data(tmp_path, condition="labels")
    assert "labels 0 cat, 1 dog" in data.description and data.num_categories == {"labels": 2}
    known = {row.tobytes(): label for row, label in zip(np.concatenate([GRAYS[:10] // 2, GRAYS[10:]]), [0] * 10 + [1] * 10, strict=True)}
    for split in SPLITS:
        x, labels = data.batch(split)
        assert [known[row.astype(np.uint8).tobytes()] for row in x[:, 0].numpy()] == labels.tolist() == data.labels[split].tolist()
    assert load_data(tmp_path).given == {}


def test_images_beyond_memory_stay_in_a_file(tmp_path, monkeypatch):
    expected = load_data(save(tmp_path, GRAYS))
    monkeypatch.setattr(images, "MOST_HELD", 10)
    data = load_data(tmp_path)
    assert isinstance(data.train, Rows) and data.train.kept.is_streamed and torch.equal(data.train.plain(), expected.train)


def test_what_is_not_alike_is_refused_by_name(tmp_path):
    save(tmp_path, GRAYS)
    Image.fromarray(GRAYS[0, :3]).save(tmp_path / "05.png")
    with pytest.raises(ValueError, match=r"most are gray, 4 x 6, and .*05.png is gray, 4 x 3"):
        load_data(tmp_path)
    Image.fromarray(COLOURS[0]).save(tmp_path / "05.png")
    with pytest.raises(ValueError, match=r"05.png is colour, 4 x 6"):
        load_data(tmp_path)
    Image.fromarray(GRAYS[0].astype(np.uint16)).save(tmp_path / "05.png")
    with pytest.raises(ValueError, match=r"05.png must have 8 bits"):
        load_data(tmp_path)
    (tmp_path / "05.png").write_bytes((tmp_path / "04.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"05.png must be an image that is not damaged"):
        load_data(tmp_path)
    (tmp_path / "05.png").write_text("no image")
    with pytest.raises(ValueError, match=r"05.png must be a PNG or JPEG image"):
        load_data(tmp_path)


def test_transparent_images_are_refused(tmp_path):
    save(tmp_path, np.concatenate([COLOURS, np.full((20, 6, 4, 1), 255, np.uint8)], -1))
    assert load_data(tmp_path).train.shape[1:] == (3, 6, 4)
    Image.fromarray(np.zeros((6, 4, 4), np.uint8)).save(tmp_path / "07.png")
    with pytest.raises(ValueError, match=r"07.png has transparent pixels"):
        load_data(tmp_path)


def test_folders_of_several_things_are_refused(tmp_path):
    save(tmp_path / "train", GRAYS)
    with pytest.raises(ValueError, match="subfolders of images are labels, not splits; got train"):
        load_data(tmp_path)
    np.save(tmp_path / "x.npy", GRAYS)
    with pytest.raises(ValueError, match=r"must hold images or arrays, not both; got x.npy too"):
        load_data(tmp_path)
    (tmp_path / "x.npy").unlink()
    save(tmp_path, GRAYS[:1])
    with pytest.raises(ValueError, match=r"must hold images or subfolders of them, not both; got 00.png and train"):
        load_data(tmp_path)


def test_without_pillow_the_remedy_is_named(tmp_path, monkeypatch):
    save(tmp_path, GRAYS)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"needs Pillow. Run: pip install pyro-lvm\[images\]"):
        load_data(tmp_path)
