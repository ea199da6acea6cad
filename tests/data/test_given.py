"""What is given to a pair besides the data: labels and covariates of data sets, tables and files of arrays."""

from labelled import V, conditional
import numpy as np
import pandas as pd
import pytest
from splits import SPLITS
import torch

from inference import evaluate, fit
from inference.data.fingerprint import data_id, split_id, training_id
from inference.data.load import Data, load_data

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 3)).astype(np.float32), np.arange(60) % 4


def matches(data, x=X, y=Y):
    """Whether each row still has its label."""
    known = {tuple(row): label for row, label in zip(x.tolist(), y.tolist(), strict=True)}
    return all(
        known[tuple(row)] == label
        for split in SPLITS
        for row, label in zip(data.batch(split)[0].tolist(), data.batch(split)[1].tolist(), strict=True)
    )


def test_labels_of_a_published_data_set():
    plain, given = load_data("digits"), load_data("digits", condition="labels")
    assert all(torch.equal(given.batch(split)[1], plain.labels[split]) for split in SPLITS)
    assert given.num_categories == {"labels": 10} and "given labels (10 categories)." in given.description
    assert len(plain.batch("test")) == 1 and plain.given == {}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_columns_of_a_table(suffix, tmp_path):
    frame = pd.DataFrame(X, columns=["a", "dose", "c"]).assign(group=Y)
    path = tmp_path / f"table{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    data = load_data(path, condition=["group", "dose"])
    assert matches(data, X[:, [0, 2]]) and list(data.given) == ["group", "dose"]
    assert data.given["group"]["train"].dtype == torch.int64 and data.given["dose"]["train"].shape == (48, 1)
    assert data.num_categories == {"group": 4} and "group (4 categories), dose (1 covariates)" in data.description
    with pytest.raises(ValueError, match="condition must be one of a, dose, c, group; got 'gruop'"):
        load_data(path, condition="gruop")
    with pytest.raises(ValueError, match="at least one column"):
        load_data(path, condition=["a", "dose", "c", "group"])


def test_arrays_of_a_file(tmp_path):
    np.savez(tmp_path / "one.npz", x=X, y=Y)
    assert matches(load_data(tmp_path / "one.npz", condition="y"))
    np.savez(tmp_path / "two.npz", train=X[:40], test=X[40:], train_y=Y[:40], test_y=Y[40:])
    data = load_data(tmp_path / "two.npz", condition="y")
    assert matches(data) and len(data.valid) == 4 and torch.equal(data.batch("test")[1], torch.from_numpy(Y[40:]))
    (tmp_path / "shards").mkdir()
    for number, rows in enumerate((slice(0, 30), slice(30, 60))):
        np.savez(tmp_path / "shards" / f"{number}.npz", x=X[rows], y=Y[rows])
    assert matches(load_data(tmp_path / "shards", condition="y"))
    np.savez(tmp_path / "short.npz", x=X, y=Y[:-1])
    with pytest.raises(ValueError, match="y must have one row for each datum, {'data': 60}; got {'data': 59}"):
        load_data(tmp_path / "short.npz", condition="y")
    with pytest.raises(ValueError, match="must be left out, as nothing else in the data has a name"):
        load_data(X, condition="y")


def test_what_are_categories_and_what_covariates(tmp_path):
    for values, kind in ((Y, 4), (Y - 1, 3), (Y + 0.5, None), (Y * 100, None), (np.stack([Y, Y], 1), None), (Y - 2, None)):
        np.savez(tmp_path / "kinds.npz", x=X, y=values)
        data = load_data(tmp_path / "kinds.npz", condition="y")
        assert data.num_categories.get("y") == kind
        given = data.given["y"]["train"]
        assert (given.dtype, given.dim()) == ((torch.int64, 1) if kind else (torch.float32, 2))


def test_some_labels_are_kept():
    data = load_data("digits", condition="labels", labelled=25)
    train, truth = data.given["labels"]["train"], data.labels["train"]
    assert torch.equal(train[train >= 0], truth[train >= 0]) and sorted(train[train >= 0].bincount().tolist()) == [2] * 5 + [3] * 5
    assert data.given["labels"]["test"].unique().tolist() == [-1] and data.num_categories == {"labels": 10}
    other = load_data("digits", condition="labels", labelled=25, seed=1)
    assert "known for 25 of the training data alone" in other.description
    for options in ({}, {"condition": "labels"}):
        with pytest.raises(ValueError, match="labelled"):
            load_data("digits", labelled=10_000, **options)


def test_fingerprints_hold_what_is_given():
    plain, given, some = load_data("digits"), load_data("digits", condition="labels"), load_data("digits", condition="labels", labelled=25)
    assert training_id(plain) == data_id(plain.train) and split_id(plain, "test") == data_id(plain.test)
    assert len({training_id(data) for data in (plain, given, some)}) == 3
    assert len({split_id(data, "test") for data in (plain, given, some)}) == 3


def test_a_data_set_goes_to_a_pair_with_what_is_given():
    x = np.concatenate([X, X[:, :1]], axis=1)
    rows = {
        split: torch.from_numpy(x[part]).double() for split, part in zip(SPLITS, (slice(40), slice(40, 50), slice(50, 60)), strict=True)
    }
    labels = {split: torch.from_numpy(Y[: len(part)] % V) for split, part in rows.items()}
    data = Data("mine", "", **rows, given={"y": labels})
    pair = conditional()
    assert len(fit(pair, data, epochs=1, batch_size=20, progress=False).history) == 1
    score = evaluate(pair, data, num_particles=10, progress=False)
    assert torch.equal(score.log_px, evaluate(pair, data.batch("test"), num_particles=10, progress=False).log_px)


def test_the_total_of_a_row_is_given(tmp_path):
    counts = RNG.poisson(3.0, (50, 4))
    frame = pd.DataFrame(counts, columns=list("abcd"))
    frame.assign(group=Y[:50]).to_csv(tmp_path / "counts.csv", index=False)
    np.savez(tmp_path / "counts.npz", counts=counts)
    for source in (counts, tmp_path / "counts.csv", tmp_path / "counts.npz"):
        conditions = ["total", "group"] if str(source).endswith("csv") else "total"
        data = load_data(source, condition=conditions)
        assert all(torch.equal(data.given["total"][split], data.batch(split)[0].sum(1, keepdim=True)) for split in SPLITS)
        assert "total: the sum of each row" in data.description and "total" not in data.num_categories
        assert list(data.given) == ([conditions] if isinstance(conditions, str) else conditions)


def test_a_column_named_total_is_the_total(tmp_path):
    pd.DataFrame(RNG.poisson(3.0, (50, 3)), columns=["a", "b", "total"]).assign(total=200.0).to_csv(tmp_path / "t.csv", index=False)
    data = load_data(tmp_path / "t.csv", condition="total")
    assert data.train.shape[1] == 2 and (data.given["total"]["train"] == 200).all() and "the sum" not in data.description


def test_totals_of_what_is_no_count_are_refused():
    with pytest.raises(ValueError, match="'total' is the sum of each row, which must hold counts"):
        load_data(X, condition="total")
    with pytest.raises(ValueError, match="'half' changes the values whose sum is given"):
        load_data(RNG.integers(256, size=(50, 4)), condition="total", binarize="half")
    with pytest.raises(ValueError, match=r"at most 2\*\*24"):
        load_data(np.full((50, 2), 2.0**24), condition="total")
