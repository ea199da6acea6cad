"""Downloads: mirrors, checksums, the cache and folders of one's own."""

from dataclasses import replace
from pathlib import Path

from internet import idx_gz, serve
import numpy as np
import pytest

from inference.data.load import load_data
from inference.data.published import download as sources
from inference.data.published.originals import SOURCES
from inference.files import atomic

pytestmark = pytest.mark.usefixtures("cache")

real_fetch = sources.fetch


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
    with pytest.raises(FileNotFoundError, match=f"mnist.npz must be in one of {cache}.*PYRO_LVM_DATA"):
        load_data("mnist", download=False)
    with pytest.raises(ConnectionError, match="no network.*PYRO_LVM_DATA"):
        load_data("mnist")
    with pytest.raises(FileNotFoundError, match="must name an existing folder; got '/no/such'"):
        load_data("mnist", folder="/no/such")


def test_an_interrupted_save_leaves_nothing_behind(tiny_mnist, cache, monkeypatch):
    def replace(*paths: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(atomic.os, "replace", replace)
    with pytest.raises(OSError, match="disk full"):
        load_data("mnist")
    assert list(cache.iterdir()) == []


def test_fetch_returns_the_bytes_and_raises_what_the_downloader_expects(tmp_path):
    content = bytes(range(256)) * 1000
    (tmp_path / "file").write_bytes(content)
    assert real_fetch((tmp_path / "file").as_uri()) == content
    with pytest.raises(OSError, match="absent"):
        real_fetch((tmp_path / "absent").as_uri())
