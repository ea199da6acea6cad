"""The published data sets without the network."""

from pathlib import Path

from internet import idx_gz, pin, serve
import numpy as np
import pytest

from inference.data.published.originals import SOURCES


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """An empty cache, no folder and no network."""
    monkeypatch.delenv("PYRO_LVM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    serve(monkeypatch, {})
    return tmp_path / "xdg" / "pyro-lvm"


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
