"""Text: codes of characters, windows, splits in order, and back."""

import hashlib

from internet import REAL_FILES, pin, serve
import numpy as np
import pytest
from splits import SPLITS
import torch

from inference import decode_text, load_data
from inference.data.published.originals import SOURCES
from inference.data.text import encode_text

pytestmark = pytest.mark.usefixtures("cache")

PLAY = "To be, or not to be,\nthat is the question: " * 20  # 860 characters
FOREIGN = "naïve Ωμέγα 字 \U0001f600\n" * 40


def joined(data) -> str:
    return "".join(text for split in SPLITS for text in decode_text(getattr(data, split), data.alphabet))


@pytest.fixture
def play(monkeypatch):
    """Tiny Shakespeare is another play, served by the network; returns what was asked for."""
    array = np.frombuffer(PLAY.encode(), np.uint8)
    pin(monkeypatch, "tiny-shakespeare", {"text": array}, {"text": PLAY.encode()})
    return serve(monkeypatch, {"input.txt": PLAY.encode()})


@pytest.mark.parametrize("text", [PLAY, FOREIGN], ids=["ascii", "unicode"])
def test_codes_are_places_among_the_sorted_characters(text):
    codes, alphabet = encode_text(text)
    assert alphabet == "".join(sorted(set(text))) and codes.dtype == np.float32
    assert codes.tolist() == [alphabet.index(character) for character in text]
    assert decode_text(codes[None], alphabet) == [text]


def test_the_published_text_is_split_in_order_at_ninety_and_ninety_five_percent(play):
    data = load_data("tiny-shakespeare", shape=(43,))
    assert [tuple(getattr(data, split).shape) for split in SPLITS] == [(18, 43), (1, 43), (1, 43)]
    assert joined(data) == PLAY and data.train.dtype == torch.float32
    assert data.alphabet == "".join(sorted(set(PLAY))) and data.labels is None and data.transform is None
    assert "validation and test set together are the customary validation set" in data.description
    assert "(18 train, 1 valid, 1 test)" in data.description


def test_windows_do_not_overlap_and_a_shorter_rest_of_each_split_is_dropped(play):
    data = load_data("tiny-shakespeare", shape=(10,))
    starts = {"train": range(0, 770, 10), "valid": range(774, 814, 10), "test": range(817, 857, 10)}
    for split in SPLITS:
        assert decode_text(getattr(data, split), data.alphabet) == [PLAY[start : start + 10] for start in starts[split]]


def test_the_published_text_is_downloaded_once(play, cache, monkeypatch):
    first = load_data("tiny-shakespeare", shape=(5,))
    assert play == list(SOURCES["tiny-shakespeare"].remotes["text"].urls)
    asked = serve(monkeypatch, {})
    assert torch.equal(load_data("tiny-shakespeare", shape=(5,)).train, first.train)
    assert not asked and [file.name for file in cache.iterdir()] == ["tiny_shakespeare.npz"]


def test_a_text_of_your_own_is_split_by_its_fractions(tmp_path):
    (tmp_path / "my.txt").write_text(FOREIGN, encoding="utf-8")
    data = load_data(tmp_path / "my.txt", shape=(8,), valid_fraction=0.2, test_fraction=0.3)
    assert len(FOREIGN) == 640 and [len(getattr(data, split)) for split in SPLITS] == [40, 16, 24]
    assert joined(data) == FOREIGN and data.alphabet == "".join(sorted(set(FOREIGN)))
    assert data.name == "my.txt" and "my.txt in windows of characters, split in order" in data.description
    by_default = load_data(str(tmp_path / "my.txt"))
    assert [tuple(getattr(by_default, split).shape) for split in SPLITS] == [(8, 64), (1, 64), (1, 64)]


def test_the_alphabet_is_that_of_the_whole_file(tmp_path):
    (tmp_path / "my.txt").write_text("b" * 90 + "a" * 10)
    data = load_data(tmp_path / "my.txt", shape=(10,))
    assert data.alphabet == "ab" and (data.train == 1).all() and (data.test == 0).all()


def test_line_ends_and_byte_order_marks_are_no_characters_of_their_own(tmp_path):
    (tmp_path / "my.txt").write_bytes(b"\xef\xbb\xbf" + b"a\r\n" * 50)
    assert load_data(tmp_path / "my.txt", shape=(2,)).alphabet == "\na"


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (PLAY.encode(), {"binarize": "half"}, "'half' needs gray levels.*got text in my.txt. Leave binarize and dequantize out.$"),
        (PLAY.encode(), {"dequantize": True}, "'dequantize' needs gray levels.*got text in my.txt"),
        (PLAY.encode(), {"shape": (8, 8)}, r"shape must be \(T,\) for text.*got \(8, 8\)"),
        (PLAY.encode(), {"shape": (0,)}, r"got \(0,\). Give one positive length"),
        (PLAY.encode(), {"shape": (87,)}, "at least one window of 87 characters; got a split of 86"),
        (PLAY.encode(), {"valid_fraction": 0.5, "test_fraction": 0.5}, "at least one character to each split.*of 860 characters"),
        (b"", {}, "at least one character to each split"),
        (b"\xff\xfe\x00", {}, "my.txt must be text in UTF-8.*Save it in that encoding"),
    ],
)
def test_unsuitable_texts_and_options_are_refused(content, options, message, tmp_path):
    (tmp_path / "my.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_data(tmp_path / "my.txt", **options)


def test_the_published_text_has_its_own_split_and_no_gray_levels(play):
    with pytest.raises(ValueError, match="valid_fraction must be left out"):
        load_data("tiny-shakespeare", valid_fraction=0.1)
    with pytest.raises(ValueError, match="'dynamic' needs gray levels.*got text in tiny-shakespeare"):
        load_data("tiny-shakespeare", binarize="dynamic")


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.uint8])
def test_codes_of_any_type_are_decoded(dtype):
    codes = torch.tensor([[0, 2], [1, 1]], dtype=dtype)
    assert decode_text(codes, "abc") == decode_text(codes.numpy(), "abc") == ["ac", "bb"]


@pytest.mark.parametrize(
    ("codes", "alphabet", "message"),
    [
        (torch.zeros(3), "abc", r"must have shape \[N, T\]; got \(3,\)"),
        (torch.zeros(2, 3, 4), "abc", r"must have shape \[N, T\]; got \(2, 3, 4\)"),
        (torch.tensor([[0.0, 3.0, -1.0]]), "abc", "whole numbers from 0 to 2; got 2 other values"),
        (torch.tensor([[0.5, float("nan")]]), "abc", "whole numbers from 0 to 2; got 2 other values"),
        (torch.zeros(2, 3), None, "alphabet must be a string of characters; got None"),
    ],
)
def test_invalid_codes_are_not_decoded(codes, alphabet, message):
    with pytest.raises(ValueError, match=message):
        decode_text(codes, alphabet)


@pytest.mark.skipif(not REAL_FILES, reason="needs PYRO_LVM_DATA")
def test_the_real_text_in_windows_is_the_original_file():
    """Its splits have 1003854, 55770 and 55770 characters, so that windows of 6 leave nothing over."""
    data = load_data("tiny-shakespeare", shape=(6,), folder=REAL_FILES, download=False)
    assert [6 * len(getattr(data, split)) for split in SPLITS] == [1003854, 55770, 55770]
    original = SOURCES["tiny-shakespeare"].remotes["text"].checksum
    assert len(data.alphabet) == 65 and f"sha256:{hashlib.sha256(joined(data).encode()).hexdigest()}" == original
