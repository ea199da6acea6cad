"""Rows that are read when they are needed give the numbers, and the figures, of tensors in memory."""

from copy import deepcopy
from functools import partial
import io

from fits import quick
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from inference import codes_of, evaluate, load_data
from inference.data.fingerprint import data_id, training_id
from inference.data.load import READERS, SPLITS
from inference.data.readers import Reading, read_numpy
import pyro_lvm as lvm
from pyro_lvm.reading import read_rows
from pyro_lvm.rows.lazy import Rows, in_parts, some_rows
from pyro_lvm.rows.noise import Noise
from pyro_lvm.rows.values import Held

GRAY = np.random.default_rng(0).integers(256, size=(90, 2, 3), dtype=np.uint8)
DTYPES = ["uint8", "bool", "int64", ">i2", "float32", ">f8"]
TREATMENTS = {
    "kept": {},
    "half": {"binarize": "half"},
    "static": {"binarize": "static"},
    "dynamic": {"binarize": "dynamic", "seed": 3},
    "dequantized": {"dequantize": True, "shape": (6,)},
}
DRAWS = {
    "uniform": lambda rng, shape: rng.random(shape, dtype=np.float32),
    "whole": lambda rng, shape: rng.integers(2**15, size=shape),
}


@pytest.fixture
def streamed(monkeypatch):
    """Every file is as large as one that memory should not hold."""
    for suffix in (".npy", ".npz"):
        monkeypatch.setitem(READERS, suffix, partial(read_numpy, how=Reading(most_held=0)))
    monkeypatch.setattr("pyro_lvm.rows.lazy.MOST_HELD", 200)


def saved(tmp_path, array):
    np.save(tmp_path / "rows.npy", array)
    return tmp_path / "rows.npy"


def linear(likelihood=lvm.GaussianLikelihood):
    torch.manual_seed(0)
    network = nn.Linear(6, 4)
    nn.init.normal_(network.weight, std=1e-3)  # for levels up to 255
    return lvm.VAE(lvm.StandardNormal(2), likelihood(nn.Linear(2, 6)), lvm.NormalEncoder(network))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("size", [1, 3, 8])
def test_noise_of_some_rows_is_that_of_one_draw_for_all(draw, size):
    noise, expected = Noise([5, 2], (40, size), draw), draw(np.random.default_rng([5, 2]), (40, size))
    for places in (np.arange(40), np.random.default_rng(0).permutation(40), np.array([7, 8, 9, 3, 3]), np.arange(0)):
        assert np.array_equal(noise(places), expected[places])


@pytest.mark.parametrize("options", TREATMENTS.values(), ids=TREATMENTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_file_gives_the_bits_and_fingerprints_of_the_array(dtype, options, streamed, tmp_path):
    array = (GRAY // 2**7 if dtype == "bool" else GRAY).astype(dtype)
    if dtype == "bool" and options:
        pytest.skip("bits are no gray levels")
    ours, theirs = load_data(saved(tmp_path, array), **options), load_data(array, **options)
    for split in SPLITS:
        rows, expected = getattr(ours, split), getattr(theirs, split)
        assert isinstance(rows, Rows) and not isinstance(expected, Rows)
        assert torch.equal(rows.clone(), expected) and data_id(rows) == data_id(expected) == data_id(rows)
        places = torch.randperm(len(rows))
        assert torch.equal(rows.index_select(0, places[:5]), expected[places[:5]])
    assert training_id(ours) == training_id(theirs) and ours.transform.__class__ == theirs.transform.__class__


def test_large_bytes_in_memory_stay_bytes():
    array = np.random.default_rng(0).integers(256, size=(9000, 784), dtype=np.uint8)
    for options in ({}, {"binarize": "dynamic"}, {"binarize": "static"}):
        train = load_data(array, **options).train
        assert isinstance(train, Rows) and train.kept.width == 1 and train.dtype == torch.float32 and train.shape == (7200, 784)
    assert torch.equal(load_data(array).train.clone().sort(0).values[0], torch.from_numpy(array).float().min(0).values)
    assert array.flags.writeable and not np.shares_memory(array, load_data(array).train.kept.read(np.arange(9000 // 2)))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_are_read_where_they_are_or_unpacked(order, save, streamed, tmp_path):
    parts = {"train": GRAY[:50], "valid": GRAY[50:60], "test": GRAY[60:]}
    save(tmp_path / "rows.npz", **{name: np.asarray(x, order=order) for name, x in parts.items()})
    data = load_data(tmp_path / "rows.npz")
    for split, x in parts.items():
        assert isinstance(getattr(data, split), Rows) and np.array_equal(getattr(data, split).numpy(), x)
    np.save(tmp_path / "column.npy", np.asfortranarray(GRAY))
    assert np.array_equal(np.sort(np.concatenate([x.numpy() for x in split_of(load_data(tmp_path / "column.npy"))]), 0), np.sort(GRAY, 0))


def split_of(data):
    return [getattr(data, split) for split in SPLITS]


def test_a_damaged_archive_is_refused_where_its_rows_stay_in_it(streamed, tmp_path):
    np.savez(tmp_path / "rows.npz", GRAY)
    content = bytearray((tmp_path / "rows.npz").read_bytes())
    content[300] ^= 1
    (tmp_path / "rows.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"rows\.npz must hold plain numeric arrays; it is damaged"):
        load_data(tmp_path / "rows.npz")


@pytest.mark.parametrize("change", [lambda path: np.save(path, GRAY[::-1]), lambda path: path.write_bytes(path.read_bytes()[:200])])
def test_a_file_that_changes_while_it_is_read_is_refused(change, streamed, tmp_path):
    data = load_data(saved(tmp_path, GRAY))
    change(tmp_path / "rows.npy")
    with pytest.raises(ValueError, match=r"rows\.npy must stay as it is while its rows are read; it has changed"):
        data.train[:3]


@pytest.mark.parametrize("bad", [np.nan, 1e300, 2.0**24 + 1])
def test_numbers_of_a_file_are_checked_part_by_part(bad, streamed, tmp_path, monkeypatch):
    monkeypatch.setattr("pyro_lvm.rows.values.PART", 800)
    array = np.arange(400.0).reshape(100, 4)
    array[57, 2] = bad
    with pytest.raises(ValueError, match="1 values that are not" if bad != 2.0**24 + 1 else "column 3 holds whole numbers.* 16777217"):
        load_data(saved(tmp_path, array))
    array[3, 2] = 0.5  # a column of other numbers is rounded anyway
    if bad == 2.0**24 + 1:
        assert len(load_data(saved(tmp_path, array)).train) == 80


KEYS = [3, -1, slice(2, 9, 3), slice(None, None, -2), [1, 5], torch.tensor([4, -2]), np.array([0, 7])]
KEYS += [(slice(0, 4), 1), (2, 1), ..., None, torch.arange(72) % 3 == 0, torch.tensor([[1, 2], [3, 4]]), slice(None)]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_rows_are_chosen_as_from_any_tensor(key, streamed, tmp_path):
    rows = load_data(saved(tmp_path, GRAY)).train
    expected = rows.clone()
    key = key if not isinstance(key, slice) or (key.step or 1) > 0 else slice(None, None, 2)
    assert torch.equal(rows[key].clone(), expected[key])


def test_rows_behave_as_a_tensor_that_is_not_written_to(streamed, tmp_path):
    rows = load_data(saved(tmp_path, GRAY.reshape(90, 6))).train
    x = rows.clone()
    assert type(x) is torch.Tensor and isinstance(rows, torch.Tensor) and (rows.shape, rows.dtype, len(rows)) == (x.shape, x.dtype, 72)
    for got, expected in [(rows + 1, x + 1), (2 * rows, 2 * x), (rows @ x.T, x @ x.T), (torch.cat([rows, x]), torch.cat([x, x]))]:
        assert torch.equal(got, expected)
    assert np.array_equal(np.asarray(rows), x.numpy()) and torch.equal(torch.stack(list(rows)), x) and rows.tolist() == x.tolist()
    assert torch.equal(nn.functional.linear(rows, x[:2]), nn.functional.linear(x, x[:2])) and rows.double()[:2].dtype == torch.float64
    for some, expected in [(rows.sum(0), x.sum(0)), (rows.mean(0), x.mean(0)), (rows.std(0), x.std(0)), (rows.std(), x.std())]:
        torch.testing.assert_close(some, expected)
    assert (rows.min(), rows.max()) == (x.min(), x.max()) and len(some_rows(rows)) < 72 and torch.equal(torch.cat([*in_parts(rows)]), x)
    file = io.BytesIO()
    torch.save(deepcopy(rows), file)
    file.seek(0)
    assert torch.equal(torch.load(file), x)
    for write in (lambda: rows.zero_(), lambda: rows.__setitem__(0, 1.0), lambda: torch.add(x, 1, out=rows)):
        with pytest.raises(TypeError, match="must not be written to; call .clone()"):
            write()
    for outside in (72, -73, [0, 72]):
        with pytest.raises(IndexError, match=r"from -72 to 71"):
            rows[outside]


def test_statistics_of_parts_are_those_of_all_rows(monkeypatch, streamed, tmp_path):
    monkeypatch.setattr("pyro_lvm.rows.values.PART", 8 * 6 * 7)
    x = np.random.default_rng(0).normal(1e3, [1e-2, 1.0, 10.0], size=(90, 3))
    rows = load_data(saved(tmp_path, x)).train.double()
    plain = rows.clone()
    torch.testing.assert_close(rows.std(0), plain.std(0), rtol=1e-10, atol=0)
    torch.testing.assert_close(rows.std(), plain.std(), rtol=1e-10, atol=0)
    torch.testing.assert_close(rows.mean(0), plain.mean(0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("options", [{}, {"binarize": "dynamic"}], ids=["kept", "dynamic"])
def test_a_fit_and_a_score_have_the_bits_of_those_in_memory(options, streamed, tmp_path):
    file, array = load_data(saved(tmp_path, GRAY.reshape(90, 6)), **options), load_data(GRAY.reshape(90, 6), **options)
    found = []
    for data in (file, array):
        vae = linear(lvm.BernoulliLikelihood if options else lvm.GaussianLikelihood)
        history = quick(vae, data.train, valid=data.valid, transform=data.transform, epochs=2, batch_size=16).history
        score = evaluate(vae, data, num_particles=8, progress=False)
        found.append((history.train_loss.tolist(), history.valid_loss.tolist(), score.log_px.tolist(), score.data_id, codes_of(vae, data)))
    assert found[0][:-1] == found[1][:-1] and torch.equal(found[0][-1], found[1][-1])


class Items(Dataset):
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, number):
        return self.x[number]


LOADERS = {"loader": lambda x: DataLoader(TensorDataset(x), 7), "batches": lambda x: list(x.split(11)), "dataset": Items}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)
def test_what_a_large_loader_yields_is_scored_as_a_tensor_is(loader, dtype, monkeypatch):
    monkeypatch.setattr("pyro_lvm.reading.MOST_HELD", 300)
    x = torch.from_numpy(GRAY.reshape(90, 6)).to(dtype)
    (rows,) = read_rows(loader(x))
    assert isinstance(rows, Rows) == (dtype != torch.bfloat16) and torch.equal(rows.clone(), x)
    scores = [evaluate(linear(), data, num_particles=5, progress=False) for data in (loader(x), x)]
    assert torch.equal(scores[0].log_px, scores[1].log_px) and scores[0].data_id == scores[1].data_id


def test_arguments_of_a_large_loader_keep_their_lengths_and_dtypes(monkeypatch):
    monkeypatch.setattr("pyro_lvm.reading.MOST_HELD", 300)
    x, y = torch.rand(90, 6), torch.arange(90)
    rows, labels = read_rows(DataLoader(TensorDataset(x, y), 7))
    assert torch.equal(rows.clone(), x) and torch.equal(labels.clone(), y) and labels.dtype == torch.int64
    with pytest.raises(ValueError, match="as many rows as the first, 90; argument 1 has 80"):
        evaluate(linear(), [(x[:20], y[:20]), (x[20:], y[20:80])], progress=False)
    with pytest.raises(ValueError, match=r"one dtype for each argument; got torch.float32 and torch.float64"):
        read_rows([x, x, x.double()])


def test_a_loader_that_shuffles_says_so():
    with pytest.warns(UserWarning, match=r"the loader shuffles its rows.*shuffle=False"):
        evaluate(linear(), DataLoader(torch.rand(20, 6), 7, shuffle=True), num_particles=2, progress=False)


def test_integers_in_memory_are_converted_batch_by_batch(monkeypatch):
    x = torch.from_numpy(GRAY.reshape(90, 6))
    expected = evaluate(linear(), x.float(), num_particles=5, progress=False).log_px
    monkeypatch.setattr("pyro_lvm.rows.lazy.MOST_HELD", 300)
    assert torch.equal(evaluate(linear(), x, num_particles=5, progress=False).log_px, expected)
    assert isinstance(Rows(Held(x.numpy())).to(torch.float32), Rows)
