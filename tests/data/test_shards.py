"""Data in several files, and data too large for memory."""

import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest
import torch

from inference import load_data
from inference.data import shards
from inference.data.shards import read_shards, shards_of
from inference.runs.kinds import default_out
from pyro_lvm.rows.lazy import Rows

ROWS = np.random.default_rng(0).integers(256, size=(60, 2, 3), dtype=np.uint8)
WRITERS = {
    ".npy": np.save,
    ".npz": np.savez,
    "packed.npz": np.savez_compressed,
    "named.npz": lambda path, x: np.savez(path, **{str(x[0, 0, 0]): x}),
}


def in_shards(folder: Path, write=np.save, suffix=".npy") -> Path:
    for number, rows in enumerate(np.split(ROWS, [7, 8, 40])):
        write(folder / f"shard-{number}{suffix}", rows)
    return folder


@pytest.fixture
def large(monkeypatch):
    monkeypatch.setattr(shards, "MOST_HELD", 10)


@pytest.mark.parametrize("suffix", WRITERS)
def test_shards_are_one_array_in_the_order_of_their_names(suffix, tmp_path):
    folder = in_shards(tmp_path, WRITERS[suffix], suffix)
    (folder / "readme.md").write_text("not a shard")
    expected = load_data(ROWS, seed=1)
    for source in (folder, str(folder), f"{folder}/*.np[yz]", f"{folder}/shard-?{suffix}"):
        data = load_data(source, seed=1)
        assert torch.equal(data.train, expected.train) and torch.equal(data.test, expected.test) and data.name == str(source)


@pytest.mark.parametrize("most_open", [2, 256])
@pytest.mark.parametrize("suffix", WRITERS)
def test_large_shards_stay_where_they_are(suffix, most_open, large, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_MOST_OPEN", most_open)
    data, expected = load_data(in_shards(tmp_path, WRITERS[suffix], suffix), binarize="dynamic"), load_data(ROWS, binarize="dynamic")
    assert isinstance(data.train, Rows) and data.train.kept.is_streamed
    for split in ("train", "valid", "test"):
        assert torch.equal(getattr(data, split).clone(), getattr(expected, split))
    assert data.train[[5, 3]].tolist() == expected.train[[5, 3]].tolist()


def test_shards_with_splits_are_joined_split_by_split(large, tmp_path):
    for number, rows in enumerate(np.split(ROWS, 2)):
        np.savez(tmp_path / f"{number}.npz", train=rows[:20], test=rows[20:])
    data = load_data(tmp_path, valid_fraction=0.25)
    assert np.array_equal(data.test.numpy(), np.concatenate([ROWS[20:30], ROWS[50:]])) and (len(data.train), len(data.valid)) == (30, 10)


UNLIKE = {
    "another dtype": (np.save, ROWS.astype(np.float32), r"a.npy holds data: uint8 \(2, 3\), and .*b.npy holds data: float32 \(2, 3\)"),
    "another shape": (np.save, ROWS[:, :1], r"b.npy holds data: uint8 \(1, 3\)"),
    "other names": (lambda path, x: np.savez(path.with_suffix(".npz"), train=x, test=x), ROWS, r"b.npz holds train: .* test: "),
    "damage": (lambda path, x: path.write_bytes(b"PK"), ROWS, r"b.npy must hold plain numeric arrays"),
}


@pytest.mark.parametrize(("write", "rows", "message"), UNLIKE.values(), ids=UNLIKE)
def test_shards_that_do_not_belong_together_are_refused(write, rows, message, tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    write(tmp_path / "b.npy", rows)
    with pytest.raises(ValueError, match=message):
        load_data(tmp_path)


@pytest.mark.parametrize("source", ["", "*.npz", "nothing/*.npy"])
def test_no_shards_are_refused(source, tmp_path):
    with pytest.raises(FileNotFoundError, match="at least one .npy or .npz file"):
        load_data(f"{tmp_path}/{source}")


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path):
    np.save(tmp_path / "a[1].npy", ROWS)
    assert shards_of(tmp_path / "a[1].npy") is None and load_data(tmp_path / "a[1].npy").name == "a[1].npy"


def test_comparisons_on_different_shards_have_different_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("shards").mkdir()
    folders = [default_out(source).name for source in ("shards", "shards/*.npz", "shards/*.npy", "mnist")]
    assert len(set(folders)) == 4 and folders[-1] == "compare-mnist" and not any(set(name) & set("*?[]/") for name in folders)


def test_a_full_disk_is_named_where_shards_are_unpacked(large, tmp_path, monkeypatch):
    in_shards(tmp_path, np.savez_compressed, ".npz")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyro_lvm.rows.stored.os.pwrite", full)
    with pytest.raises(OSError, match=r"shard-0\.npz: .* unpacked to .* TMPDIR names: No space left"):
        read_shards(shards_of(tmp_path))


MEASURED = """
import sys
import torch
from torch import nn
import pyro_lvm as lvm
from inference import evaluate, fit, load_data
import inference.runs.scores

def highest():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) // 1024

before = highest()
data = load_data(sys.argv[1], binarize="dynamic", valid_fraction=0.01, test_fraction=0.01)
assert float(data.train.max()) < 1 and data.train.std(0).min() > 0
vae = lvm.VAE(lvm.StandardNormal(1), lvm.BernoulliLikelihood(nn.Linear(1, 784)), lvm.NormalEncoder(nn.Linear(784, 2)))
fit(vae, data, epochs=1, batch_size=500, compile=False, progress=False)
assert evaluate(vae, data, num_particles=2, compile=False, progress=False).log_px.isfinite().all()
print(highest() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured on Linux")
def test_memory_does_not_grow_with_the_size_of_a_file(tmp_path):
    path = tmp_path / "rows.npy"
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(90_000, 784))  # a sparse file: zeros take no space
    rows[::1000] = 200
    rows.flush()
    del rows
    command = [sys.executable, "-W", "ignore", "-c", MEASURED, str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    measured = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert measured.returncode == 0, measured.stderr
    assert int(measured.stdout) < 180  # MiB; as a tensor in float32, the rows are 270, and twice that with a split that copies
