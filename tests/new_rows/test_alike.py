"""New rows are read as the data of a run were; whatever does not suit them is refused with the name of the file and what was expected."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
from pyro.infer.autoguide import AutoNormal
import pytest
import torch

from inference import decode_text, load_data, make_pair, read_rows
from inference.data.alike import TableReader
from inference.new_rows.reading import read_alike
import pyro_lvm as lvm


def pair_of(data, make_likelihood, num_out=1):
    D = data.train[0].numel()
    network = lvm.MLP(2, [4], D if num_out == 1 else (D, num_out))
    return lvm.VAE(lvm.StandardNormal(2), make_likelihood(network), lvm.NormalEncoder(lvm.MLP(D, [4], 4)))


@pytest.fixture
def levels():
    return np.random.default_rng(0).integers(0, 17, (60, 6)).astype(np.uint8)


@pytest.mark.parametrize("options", [{"binarize": "half"}, {"binarize": "static"}, {"binarize": "dynamic"}, {"dequantize": True}, {}])
def test_test_rows_read_again_are_the_test_data(levels, options, tmp_path):
    np.savez(tmp_path / "all.npz", train=levels[:40], valid=levels[40:45], test=levels[45:])
    data = load_data(tmp_path / "all.npz", seed=3, **options)
    np.save(tmp_path / "new.npy", levels[45:])
    pair = pair_of(
        data, lvm.PoissonLikelihood if not options else lvm.BernoulliLikelihood if "binarize" in options else lvm.GaussianLikelihood
    )
    assert torch.equal(read_alike(tmp_path / "new.npy", data, pair).x, data.test)


def test_the_highest_level_is_that_of_the_data(levels):
    data = load_data(levels, binarize="half")
    pair = pair_of(data, lvm.BernoulliLikelihood)
    dark = np.minimum(levels, 9)
    assert torch.equal(read_alike(dark, data, pair).x, torch.from_numpy(dark > 8).float())
    assert not torch.equal(load_data(dark, binarize="half").train, torch.from_numpy(dark > 8).float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x + 10, "new.npy must hold gray levels, whole numbers from 0 to 16, .* got values from 10 to 2"),
        (lambda x: x / 16, "new.npy must hold gray levels, .* got values from 0 to 1"),
        (lambda x: x > 8, "got only zeros and ones, as of data that are binarized already. If they are, multiply them by 16"),
        (lambda x: x[:, :5], r"new.npy must hold rows of shape \(6,\), as array does; got rows of shape \(5,\)"),
        (lambda x: np.where(x == 3, np.nan, x), "new.npy must have no missing cells; got .* Fill them in"),
        (lambda x: x.astype(str), "must hold numbers"),
    ],
)
def test_rows_that_do_not_suit_are_refused(levels, change, message, tmp_path):
    data = load_data(levels, binarize="half")
    np.save(tmp_path / "new.npy", change(levels))
    with pytest.raises(ValueError, match=message):
        read_alike(tmp_path / "new.npy", data, pair_of(data, lvm.BernoulliLikelihood))


def test_values_outside_the_support_are_refused_by_the_name_of_the_file(tmp_path):
    codes = np.random.default_rng(0).integers(0, 4, (60, 5))
    data = load_data(codes)
    pair = pair_of(data, lvm.CategoricalLikelihood, 4)
    np.save(tmp_path / "new.npy", codes + 2)
    with pytest.raises(ValueError, match="new.npy does not suit the run: site 'x': data must lie in the support"):
        read_alike(tmp_path / "new.npy", data, pair)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["a", "b"], "must have the 3 columns of old.csv; it lacks c"),
        (["id", "a", "b", "c"], "it also has id"),
        (["a", "b", "d"], "it lacks c and it also has d"),
    ],
)
def test_columns_of_tables_are_compared_by_name(columns, message, tmp_path):
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=list("abc"))
    table.to_csv(tmp_path / "old.csv", index=False)
    data = load_data(tmp_path / "old.csv")
    assert data.columns == ("a", "b", "c")
    pair = pair_of(data, lvm.GaussianLikelihood)
    other = table.assign(id=1.0, d=2.0)[columns]
    other.to_parquet(tmp_path / "new.parquet", index=False)
    for source in (tmp_path / "new.parquet", other):
        with pytest.raises(ValueError, match=message):
            read_alike(source, data, pair)
    table.to_parquet(tmp_path / "same.parquet", index=False)
    for source in (tmp_path / "same.parquet", table, table[["c", "a", "b"]], table.to_numpy()):
        assert torch.equal(read_alike(source, data, pair).x, torch.tensor(table.to_numpy(np.float32)))


@pytest.mark.parametrize("options", [{"binarize": "half"}, {"binarize": None}, {}])
def test_columns_in_another_order_are_put_right(options, tmp_path):
    table = pd.DataFrame(np.random.default_rng(0).integers(0, 17, (40, 4)), columns=["id", "a", "b", "y"])
    data = load_data(table, drop=["id"], condition="y", **options)
    right, other = read_rows(data, table[["a", "b", "y"]]), table[["y", "b", "id", "a"]]
    other.to_csv(tmp_path / "new.csv", index=False)
    other.to_parquet(tmp_path / "new.parquet", index=False)
    for source in (other, tmp_path / "new.csv", tmp_path / "new.parquet"):
        new = read_alike(source, data, None, has_gaps=True)
        assert all(map(torch.equal, new.batch, right)) and new.columns == ("a", "b")
        assert new.source is None or np.array_equal(new.source, table[["a", "b"]])
    reader = TableReader(data)
    if options.get("binarize") is None:
        assert all(torch.equal(own.double(), x.double()) for own, x in zip(reader(other, ()), right, strict=True))
        with pytest.raises(ValueError, match="it also has z"):
            reader(other.assign(z=1), ())
    else:
        with pytest.raises(ValueError, match=r"must be treated as the table was: .* Pass read_rows\(data, table\)"):
            reader(other, ())
    with pytest.raises(ValueError, match="columns in the order of the data .* b is in the place of a. Pass the table itself"):
        reader.check(load_data(table[["b", "a", "y"]], condition="y", **options))


def test_empty_fields_are_missing_cells_where_these_are_asked_for(tmp_path):
    (tmp_path / "gaps.csv").write_text("a,b\n1.5,\n,2\nNA,nan\n3,4\n")
    data = load_data(np.random.default_rng(0).normal(size=(30, 2)))
    pair = pair_of(data, lvm.GaussianLikelihood)
    rows = read_alike(tmp_path / "gaps.csv", data, pair, has_gaps=True)
    nan = float("nan")
    assert torch.equal(rows.x.nan_to_num(-9), torch.tensor([[1.5, nan], [nan, 2], [nan, nan], [3, 4]]).nan_to_num(-9))
    assert rows.columns == ("a", "b")
    with pytest.raises(ValueError, match="gaps.csv must have no missing cells; got 4 in 3 rows"):
        read_alike(tmp_path / "gaps.csv", data, pair)


def test_text_keeps_the_alphabet_and_the_window_of_the_run(tmp_path):
    (tmp_path / "old.txt").write_text("abcd efg. " * 40)
    data = load_data(tmp_path / "old.txt", shape=(8,))
    pair = pair_of(data, lvm.CategoricalLikelihood, len(data.alphabet))
    (tmp_path / "new.txt").write_text("gab cab face")
    rows = read_alike(tmp_path / "new.txt", data, pair)
    assert decode_text(rows.x, data.alphabet) == ["gab cab "] and "The last 4 characters of new.txt are left out" in rows.note
    (tmp_path / "new.txt").write_text("a big hat")
    with pytest.raises(ValueError, match="new.txt must have no characters but the 9 of the run's text; it has 'h', 'i', 't'"):
        read_alike(tmp_path / "new.txt", data, pair)
    with pytest.raises(ValueError, match="must be in a file that ends in .txt"):
        read_alike(tmp_path / "new.csv", data, pair)


def test_parameters_of_rows_say_nothing_of_new_rows(levels):
    data = load_data((levels > 8).astype(float))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z.expand(-1, 6)).to_event(1), obs=x)

    pair = lvm.Pair(model, AutoNormal(model))
    lvm.check_pair(pair, data.train)
    with pytest.raises(ValueError, match="new rows cannot be encoded: the parameters .* belong to the rows of the training data"):
        read_alike(levels > 8, data, pair)


def test_what_a_pair_is_called_with_besides_is_named(levels):
    data = replace(load_data(levels), given={"labels": dict.fromkeys(("train", "valid", "test"), torch.zeros(3))})
    with pytest.raises(ValueError, match="labels must be in the file beside the rows, as the pair is given it"):
        read_alike(levels, data, pair_of(data, lvm.PoissonLikelihood))


def test_words_that_are_given_have_the_codes_of_the_run():
    wards = np.array(["night", "day", "late"])
    table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=60), "y": 1.5, "ward": wards[np.arange(60) % 3]}).assign(
        y=lambda t: t["x"] ** 2
    )
    data = load_data(table, condition="ward")
    pair = make_pair(data, structure="conditional", latent_dim=1, hidden=(4,))
    new = read_alike(table.iloc[:4].assign(ward=["late", "day", "day", "night"]), data, pair)
    assert new.given["ward"].tolist() == [1, 0, 0, 2]  # in the order of the alphabet
    with pytest.raises(ValueError, match="column ward must hold one of day, late, night; got 'dusk' in row 0"):
        read_alike(table.iloc[:1].assign(ward="dusk"), data, pair)


def test_files_that_are_not_one_array_are_refused(levels, tmp_path):
    data = load_data(levels)
    pair = pair_of(data, lvm.PoissonLikelihood)
    np.savez(tmp_path / "two.npz", train=levels, test=levels)
    with pytest.raises(ValueError, match="two.npz must hold one array of rows; got train, test"):
        read_alike(tmp_path / "two.npz", data, pair)
    with pytest.raises(FileNotFoundError, match="existing file"):
        read_alike(tmp_path / "none.npy", data, pair)
    with pytest.raises(ValueError, match="must be in a file that ends in .npy"):
        read_alike("digits", data, pair)
